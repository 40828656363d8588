/* jobs.h - giving jobs to agents and taking their results (jobs.c); agents.c decides who gets one.
 */
#ifndef DAKIYA_QMGR_JOBS_H
#define DAKIYA_QMGR_JOBS_H

#include "qmgr/qmgr.h"

/* The destination's next job for this agent. False: out of memory, nothing changed. */
bool job_give(struct qmgr *qmgr, struct agent_link *agent, struct destination *destination);
/* False: the agent speaks of a job that it does not have, or nonsense. */
bool job_result(struct qmgr *qmgr, struct agent_link *agent, const struct msg_job_result *result);
/* NULL when the agent does not have it. */
struct job *job_find(const struct agent_link *agent, uint64_t number);
/* The agent is gone without a result. */
void job_return(struct qmgr *qmgr, struct agent_link *agent, struct job *job);

#endif
