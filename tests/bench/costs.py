"""What a message's CPU time is made of: by process, and with perf(1) by system call."""
import collections
import pathlib
import re
import shutil
import subprocess
import time

import peers
from sides import MESSAGES, NEXT_HOST, Ours, deliver, relay

LEAST_US = 1.0  # what takes less of a message is not printed


def process_times(side):
    """pid: (name, user ticks, system ticks); what was started at the side's master only."""
    times = {}
    for pid in peers.tree(side.root_pid()):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        name = stat[stat.index("(") + 1:stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2:].split()
        times[pid] = (name, int(fields[11]), int(fields[12]))
    return times


def print_processes(before, after, messages):
    for pid, (name, user, system) in sorted(after.items()):
        _, user_before, system_before = before.get(pid, (name, 0, 0))
        user_us = (user - user_before) * 1e4 / messages
        system_us = (system - system_before) * 1e4 / messages
        if user_us + system_us >= LEAST_US:
            print(f"    {name:10} {user_us:5.0f} us itself {system_us:5.0f} us in the kernel")


def sample_place(frames):
    """Where a sample belongs: the system call it came through, or the library it was in."""
    for function, _ in reversed(frames):
        called = re.match(r"(?:__x64_sys|__sys|ksys)_(\w+)$", function)
        if called:
            return called.group(1)
    function, library = frames[0]
    if "kernel" not in library:
        return f"user code ({pathlib.PurePath(library).name})"
    return "interrupts, switches, page faults"


def read_samples(file):
    """Counter of (process, place) from perf's own listing of its samples."""
    text = subprocess.run(["perf", "script", "-i", file, "-F", "comm,ip,sym,dso"],
                          capture_output=True, text=True, check=False).stdout
    counts = collections.Counter()
    for sample in text.split("\n\n"):
        lines = sample.strip().split("\n")
        frames = [(match.group(1), match.group(2)) for match in
                  (re.match(r"\s*[0-9a-f]+ (\S+?)(?:\+0x[0-9a-f]+)? \((.*)\)$", line)
                   for line in lines[1:]) if match]
        if frames:
            counts[lines[0].strip(), sample_place(frames)] += 1
    return counts


def print_samples(file, frequency, messages):
    totals, rows = collections.Counter(), read_samples(file)
    for (process, _), count in rows.items():
        totals[process] += count
    for process, total in totals.most_common():
        parts = [f"{place} {count * 1e6 / frequency / messages:.0f}"
                 for (of, place), count in rows.most_common()
                 if of == process and count * 1e6 / frequency / messages >= LEAST_US]
        print(f"    {process:10} {total * 1e6 / frequency / messages:.0f} us: {', '.join(parts)}")


def trace_samples(side, what, messages):
    """perf on the side's processes only; counts CPU time, so waiting costs nothing."""
    if shutil.which("perf") is None:
        print("    (no perf here: nothing by system call)")
        return
    frequency, file = 2000, side.directory / "perf.data"
    pids = ",".join(str(pid) for pid in peers.tree(side.root_pid()))
    with subprocess.Popen(["perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", str(frequency),
                           "-p", pids, "-o", file], stderr=subprocess.DEVNULL) as recorder:
        time.sleep(1)
        what(messages)
        recorder.terminate()
    print("    by system call, microseconds of a message (perf itself costs some):")
    print_samples(file, frequency, messages)


def print_costs(title, side, what):
    what(MESSAGES // 10)
    before = process_times(side)
    what(MESSAGES)
    print(f"{title}, {MESSAGES} messages of 4 KB over 20 sessions:")
    print_processes(before, process_times(side), MESSAGES)
    trace_samples(side, what, MESSAGES)


def bench(_has_peers):
    for title, settings, what in (
            ("a delivered message", {}, lambda side, count: deliver(side, 20, count)),
            ("a relayed message", {"relayhost": NEXT_HOST}, relay)):
        side = Ours(**settings).start()
        try:
            print_costs(title, side, lambda count, side=side, what=what: what(side, count))
        finally:
            side.stop()
