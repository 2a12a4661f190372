#!/usr/bin/env python3
"""Python: multiprocessing, by fork as is its default, with a Pipe to each worker.

For crashes a concurrent.futures.ProcessPoolExecutor of one worker, as a Process has
no way to tell a caller of them. It speaks the protocol of contender.c; pickled
messages go over Unix sockets, and both sides sleep at once.
"""
import sys

# Python puts this file's folder first there, and would take this file for the library.
sys.path.pop(0)

import concurrent.futures  # noqa: E402
import concurrent.futures.process  # noqa: E402
import ctypes  # noqa: E402
import mmap  # noqa: E402
import multiprocessing  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402

PR_SET_PDEATHSIG = 1
CPUCLOCK_SCHED = 2
WORKERS_MAX = 1000


def answer(a, b):
    return a + b


def expect(got, wanted):
    if got != wanted:
        sys.exit(f"wrong answer, {got} instead of {wanted}")


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_here():
    os.kill(os.getpid(), signal.SIGSEGV)


def serve(connection, cores):
    die_with_parent()
    os.sched_setaffinity(0, cores)
    try:
        while True:
            a, b = connection.recv()
            connection.send(answer(a, b))
    except EOFError:
        pass


class Worker:
    """A process that answers calls."""

    def __init__(self, cores):
        self.connection, far_end = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=serve, args=(far_end, cores), daemon=True)
        self.process.start()
        far_end.close()

    def call(self, a, b):
        self.connection.send((a, b))
        return self.connection.recv()

    def end(self):
        self.process.terminate()
        self.process.join()
        self.connection.close()


def new_pool():
    return concurrent.futures.ProcessPoolExecutor(max_workers=1, initializer=die_with_parent)


def memory_of(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_time(pid):
    return time.clock_gettime_ns(~pid << 3 | CPUCLOCK_SCHED)


class Contender:
    """Each command is a method, which returns the figures, or None for "cannot"."""

    def __init__(self, caller, other):
        self.everywhere = os.sched_getaffinity(0)
        self.caller = {caller}
        self.other = Worker({other})
        self.workers = []
        self.ballasts = []

    def pin(self):
        os.sched_setaffinity(0, self.caller)

    def unpin(self):
        """What is started may use every core, as it may in programs."""
        os.sched_setaffinity(0, self.everywhere)

    def wake(self):
        for i in range(20):
            expect(self.other.call(i, 1), i + 1)

    def invoke(self, n):
        self.pin()
        self.wake()
        call = self.other.call
        total = 0
        start = time.monotonic_ns()
        for i in range(n):
            total += call(i, 1)
        ns = time.monotonic_ns() - start
        expect(total, n * (n + 1) // 2)
        return [ns]

    def paced(self, hz, n):
        self.pin()
        ns = []
        then = time.monotonic_ns()
        for i in range(n):
            then += 1000000000 // hz
            time.sleep(max(0, then - time.monotonic_ns()) / 1e9)
            start = time.monotonic_ns()
            result = self.other.call(i, 1)
            ns.append(time.monotonic_ns() - start)
            expect(result, i + 1)
        return ns

    def start(self, n):
        self.unpin()
        ns = []
        for _ in range(n):
            time.sleep(0.01)
            start = time.monotonic_ns()
            worker = Worker(self.everywhere)
            expect(worker.call(1, 2), 3)
            ns.append(time.monotonic_ns() - start)
            worker.end()
        return ns

    def ballast(self, gib):
        memory = mmap.mmap(-1, gib << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        chunk = b"\1" * (1 << 20)
        for _ in range(gib << 10):
            memory.write(chunk)
        self.ballasts.append(memory)
        return []

    def deaths(self, n):
        """Nanoseconds each, from the death to the error, and to the next good answer."""
        self.unpin()
        for _ in range(n):
            time.sleep(0.01)
            with new_pool() as pool:
                expect(pool.submit(answer, 1, 2).result(), 3)
                start = time.monotonic_ns()
                try:
                    pool.submit(die_here).result()
                    sys.exit("no SIGSEGV")
                except concurrent.futures.process.BrokenProcessPool:
                    error = time.monotonic_ns() - start
                with new_pool() as successor:
                    expect(successor.submit(answer, 1, 2).result(), 3)
                    recovered = time.monotonic_ns() - start
            yield error, recovered

    def crash(self, n):
        return [error for error, _ in self.deaths(n)]

    def recover(self, n):
        return [recovered for _, recovered in self.deaths(n)]

    def start_workers(self, n):
        if self.workers or n > WORKERS_MAX:
            return None
        self.unpin()
        for _ in range(n):
            worker = Worker(self.everywhere)
            expect(worker.call(1, 2), 3)
            self.workers.append(worker)
        time.sleep(0.5)
        return []

    def memory(self):
        return [memory_of(worker.process.pid) for worker in self.workers] or None

    def cpu_of_all(self):
        return time.process_time_ns() + sum(cpu_time(worker.process.pid) for worker in self.workers)

    def idle(self, ms):
        if not self.workers:
            return None
        before = self.cpu_of_all()
        counting = self.cpu_of_all() - before
        before = self.cpu_of_all()
        time.sleep(ms / 1e3)
        return [max(0, self.cpu_of_all() - before - counting)]

    def each(self, count, n):
        if len(self.workers) < count:
            return None
        self.unpin()
        for worker in self.workers[:count]:
            worker.call(1, 1)
        total = 0
        start = time.monotonic_ns()
        for i in range(n):
            total += self.workers[i % count].call(i, 1)
        ns = time.monotonic_ns() - start
        expect(total, n * (n + 1) // 2)
        return [ns]

    def obey(self, line):
        name, *args = line.split()
        commands = {
            "invoke": self.invoke, "paced": self.paced, "start": self.start, "ballast": self.ballast,
            "crash": self.crash, "recover": self.recover, "workers": self.start_workers, "memory": self.memory,
            "idle": self.idle, "each": self.each,
        }
        figures = commands[name](*map(int, args)) if name in commands else None
        print("cannot" if figures is None else " ".join(["ok", *map(str, figures)]), flush=True)


def set_limits():
    """No file for a core dump, and several files for each worker."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main():
    if len(sys.argv) < 4:
        sys.exit(f"usage: {sys.argv[0]} spin|sleep CALLER-CORE OTHER-CORE [OPTION]")
    set_limits()
    contender = Contender(int(sys.argv[2]), int(sys.argv[3]))
    print(f"ready {sys.version.split()[0]} {os.getpid()} {contender.other.process.pid}", flush=True)
    for line in sys.stdin:
        contender.obey(line)


if __name__ == "__main__":
    main()
