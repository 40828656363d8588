"""Large messages: rate, CPU for a megabyte, and memory while 20 sessions send 10 MB each."""
from sides import NEXT_HOST, Ours, PeakMemory, PostfixPeer, compare, deliver, relay

MB = 1000 * 1000
# Size, sessions, messages of a round. 10 MB is a little below what both sides take by default.
CASES = ((100_000, 1, 100), (100_000, 20, 600), (10 * MB, 1, 6), (10 * MB, 20, 20))


def size_text(size):
    return f"{size // MB} MB" if size >= MB else f"{size // 1000} KB"


def compare_sizes(title, sides, what):
    """what(side, sessions, messages, size, options)."""
    for size, sessions, messages in CASES:
        for verb, options in (("DATA", ()), ("BDAT", ("-b",))):
            compare(f"{title} {size_text(size)}, {sessions} x {verb}", sides,
                    lambda side, count, size=size, sessions=sessions, options=options:
                    what(side, sessions, count, size, options), messages,
                    format_cpu=lambda cpu_ms, _, size=size: f"{cpu_ms * MB / size:6.2f} ms a MB",
                    warm_up=sessions)


def print_memory(title, sides, what):
    for side in sides:
        with PeakMemory(side) as memory:
            what(side, 20, 20, 10 * MB, ())
        print(f"{title} 20 x 10 MB: {side.name} {(memory.peak_kb - memory.before_kb) / 1024:.1f} "
              f"MB more memory than idle ({memory.before_kb / 1024:.1f} MB)", flush=True)


def run(title, sides, what):
    try:
        for side in sides:
            side.start()
        compare_sizes(title, sides, what)
        print_memory(title, sides, what)
    finally:
        for side in sides:
            side.stop()


def bench(has_peers):
    run("deliver", [Ours()] + ([PostfixPeer()] if has_peers else []),
        lambda side, sessions, messages, size, options:
        deliver(side, sessions, messages, *options, size=size))
    run("relay", [Ours(relayhost=NEXT_HOST)] +
        ([PostfixPeer(relayhost=NEXT_HOST)] if has_peers else []),
        lambda side, sessions, messages, size, options:
        relay(side, messages, *options, sessions=sessions, size=size))
