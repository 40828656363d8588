"""What this machine could do at most: files and log records synced, SMTP spoken to a sink."""
import atexit
import subprocess
import time

from sides import BENCH, MESSAGES, ROUNDS, SINK, dakiya, execute


def sync_bench(*what):
    directory = dakiya.new_directory("syncs")
    atexit.register(dakiya.remove_directory, directory)
    print(execute([BENCH / "sync-bench", "-r", str(ROUNDS), directory, *what]), end="", flush=True)


def dialogue(sessions, messages):
    """Nothing but SMTP: what is sent is thrown away at once."""
    with subprocess.Popen([BENCH / "smtp-sink", "-n", str(messages), SINK],
                          stdout=subprocess.DEVNULL) as sink:
        time.sleep(0.1)
        execute([BENCH / "smtp-source", "-s", str(sessions), "-m", str(messages), "-l", "4096",
                 SINK])
        sink.wait(60)


def bench(_has_peers):
    sync_bench("limits")
    for sessions in (1, 20, 100):
        rates = []
        for _ in range(ROUNDS):
            start = time.monotonic()
            dialogue(sessions, MESSAGES * 5)
            rates.append(MESSAGES * 5 / (time.monotonic() - start - 0.1))
        print(f"SMTP dialogue, {sessions:3} sessions           {sorted(rates)[ROUNDS // 2]:8.0f}/s",
              flush=True)


def bench_syncs(_has_peers):
    sync_bench("files", "log")
