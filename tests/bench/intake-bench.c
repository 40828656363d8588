/*
 * intake-bench.c - what qmgr alone can do: commits from N threads, null agents that acknowledge.
 *
 *   intake-bench [-d] QUEUE_DIRECTORY threads messages bytes
 *
 * Run against a qmgr that listens in QUEUE_DIRECTORY. Prints the rate at which commits were
 * answered, and the rate at which all of them were delivered by agents that say so at once (-d: no
 * agents).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/queue/intake.h"
#include "lib/queue/job.h"

#define AGENTS 4
#define WINDOW 64

struct bench {
	struct intake_client *client;
	struct slice          content;
	int64_t               messages;
	atomic_int_fast64_t   begun, done, failed, delivered;
	atomic_bool           is_over;
};

static void *
commit_run(void *argument)
{
	struct bench        *bench = argument;
	struct msg_envelope  envelope = { .sender = SLICE("alice@example.org") };
	struct msg_recipient recipient = { .address = SLICE("bob@example.net") };
	struct buf           list = BUF(4096);
	char                 id[QUEUE_ID_MOST];
	struct error         error;

	envelope.size = bench->content.length;
	msg_recipient_append(&list, &recipient);
	while (atomic_fetch_add(&bench->begun, 1) < bench->messages) {
		envelope.arrival_us = clock_wall_us();
		if (!intake_make_id(bench->client, id, &error)) {
			atomic_fetch_add(&bench->failed, 1);
			continue;
		}
		struct intake_submission one = { .id = id,
			                         .envelope = &envelope,
			                         .recipients = buf_slice(&list),
			                         .content = bench->content };
		if (intake_commit(bench->client, &one, 60000, &error) != INTAKE_OK)
			atomic_fetch_add(&bench->failed, 1);
		else
			atomic_fetch_add(&bench->done, 1);
	}
	buf_free(&list);
	return NULL;
}

static void
job_acknowledge(struct bench *bench, struct agent *agent, struct agent_job *job)
{
	struct msg_job_result result = { .job = job->message.job };
	struct msg_outcome    outcome = { .status = SLICE("2.0.0"), .reason = SLICE("ok") };
	struct buf            list = BUF(1u << 20);

	msg_outcome_append(&list, &outcome);
	result.outcomes = buf_slice(&list);
	agent_queue_report(agent, &result);
	agent_job_release(job);
	atomic_fetch_add(&bench->delivered, 1);
	buf_free(&list);
}

static void *
agent_run(void *argument)
{
	struct bench    *bench = argument;
	struct agent     agent = { .channel = { .fd = -1 } };
	struct agent_job job;
	struct error     error;

	if (!agent_connect(&agent, "private/jobs", "smtp", WINDOW, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return NULL;
	}
	while (!atomic_load(&bench->is_over)) {
		enum agent_result result = agent_wait(&agent, clock_monotonic_ms() + 100);

		if (result == AGENT_CLOSED)
			break;
		while (result == AGENT_JOB && agent_take_job(&agent, &job))
			job_acknowledge(bench, &agent, &job);
		agent_flush(&agent);
	}
	agent_close(&agent);
	return NULL;
}

static void
report(const char *what, int64_t count, int64_t begin_us)
{
	double seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;

	printf("%s %lld in %.2f s: %.0f/s\n", what, (long long)count, seconds,
	       (double)count / seconds);
}

static void
bench_run(struct bench *bench, size_t threads, bool has_agents)
{
	pthread_t *workers = calloc(threads, sizeof(pthread_t)), agents[AGENTS];
	int64_t    begin_us = clock_monotonic_us();

	for (size_t i = 0; has_agents && i < AGENTS; i++)
		pthread_create(&agents[i], NULL, agent_run, bench);
	for (size_t i = 0; i < threads; i++)
		pthread_create(&workers[i], NULL, commit_run, bench);
	for (size_t i = 0; i < threads; i++)
		pthread_join(workers[i], NULL);
	report("committed", atomic_load(&bench->done), begin_us);
	while (has_agents && atomic_load(&bench->delivered) < atomic_load(&bench->done))
		usleep(1000);
	if (has_agents)
		report("delivered", atomic_load(&bench->delivered), begin_us);
	atomic_store(&bench->is_over, true);
	for (size_t i = 0; has_agents && i < AGENTS; i++)
		pthread_join(agents[i], NULL);
	if (atomic_load(&bench->failed) > 0)
		printf("failed %lld\n", (long long)atomic_load(&bench->failed));
	free(workers);
}

int
main(int argc, char **argv)
{
	struct bench bench = { 0 };
	bool         has_agents = argc < 2 || argv[1][0] != '-';
	int64_t      threads, bytes;

	argv += has_agents ? 0 : 1;
	argc -= has_agents ? 0 : 1;
	if (argc != 5 || !number_parse(slice_from(argv[2]), 1, 1000, &threads) ||
	    !number_parse(slice_from(argv[3]), 1, 100000000, &bench.messages) ||
	    !number_parse(slice_from(argv[4]), 32, 65000, &bytes)) {
		fprintf(stderr,
		        "usage: intake-bench [-d] queue_directory threads messages bytes\n");
		return 64;
	}
	char *content = malloc((size_t)bytes);
	if (content == NULL || chdir(argv[1]) != 0) {
		perror(argv[1]);
		return 1;
	}
	memset(content, 'x', (size_t)bytes);
	memcpy(content, "Subject: bench\r\n\r\n", 18);
	memcpy(content + bytes - 2, "\r\n", 2);
	bench.content = slice_of(content, (size_t)bytes);
	bench.client = intake_client_create("private/intake", "bench");
	if (bench.client == NULL)
		return 1;
	bench_run(&bench, (size_t)threads, has_agents);
	intake_client_destroy(&bench.client);
	free(content);
	return 0;
}
