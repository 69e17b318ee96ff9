#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Handovers that end in doubt, and how the doubt ends: by `holdfast resolve`, by a process of the
source that comes back with --keep after a SIGKILL, with a ledger and without one. As handover.py,
whose guests and verdicts these are.

  doubt.py SUITE

Environment: HOLDFAST.
"""
import importlib.util
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


H = load("handover")
check = H.check

# Between the claim and the start: long enough to find the source in doubt, or for ever.
SLOW = "delay:device[0].set_state=RUNNING_P2P:7000"
STUCK = "delay:device[0].set_state=RUNNING_P2P:60000"
REFUSES = "fault:device[1].set_state=RUNNING:1:EIO"
IMPATIENT = {"peer-timeout": 3000, "doubt-timeout": 500}


def command(*args, status):
    """Run holdfast; its output, both streams together."""
    done = subprocess.run([H.HOLDFAST, *args], timeout=H.START_S, capture_output=True, text=True,
                          check=False)
    output = done.stdout + done.stderr
    check(done.returncode == status,
          f"{' '.join(args)}: exit status {done.returncode}, not {status}: {output}")
    return output.strip()


def wait_outcome(vm, wanted):
    deadline = time.monotonic() + H.MIGRATE_S
    while True:
        own = vm.qmp.execute("query-migrate")["holdfast"]
        if own["outcome"] != "none":
            check(own["outcome"] == wanted, f"{own['outcome']}, not {wanted}: {own}")
            return own
        check(time.monotonic() < deadline, f"no outcome: {own}")
        H.select.select([vm.qmp.link], [], [], 0.05)


def doubt(test, *filters):
    """A source that waits, and a target that is still at work, or dead to the world."""
    target = test.target(filters=filters)
    test.seen = test.source.passes()
    test.source.qmp.execute("migrate", uri=target.uri, **IMPATIENT)
    own = wait_outcome(test.source, "waiting")
    check(own["error"]["text"], "no reason")
    check(test.source.status() == "paused", f"the source is {test.source.status()}")
    for what in ("cont", "quit"):
        try:
            test.source.qmp.execute(what)
        except H.Failure as why:
            check(what == "quit" or "holdfast resolve" in str(why), f"{why}")
        else:
            raise H.Failure(f"{what} is done to a guest in doubt")
    return target


def assert_here(test):
    """The guest goes on at test.source: two clean passes more."""
    test.source.wait_status("running")
    seen = test.source.passes()
    test.source.wait_passes(seen + 2)


def assert_there(test, target):
    target.wait_status("running")
    target.wait_passes(test.seen + 2)


def ended(vm, status):
    try:
        got = vm.process.wait(H.MIGRATE_S)
    except subprocess.TimeoutExpired as why:
        raise H.Failure(f"{vm.name} has not ended") from why
    check(got == status, f"{vm.name}: exit status {got}, not {status}: {vm.log_end()}")


# ---- an operator -------------------------------------------------------------------------------


def asked(test):
    target = doubt(test, SLOW)
    check("in doubt" in command("resolve", test.source.socket, status=3), "no word of doubt")
    assert_there(test, target)
    check("away" in command("resolve", test.source.socket, status=0), "it is not away")
    check(test.source.status() == "postmigrate", f"the source is {test.source.status()}")
    output = command("resolve", "--take-back", test.source.socket, status=1)
    check("nothing is in doubt" in output, output)
    test.source.qmp.execute("quit")
    ended(test.source, 0)


def taken_back(test):
    target = doubt(test, STUCK)
    target.kill()
    output = command("resolve", "--take-back", test.source.socket, status=0)
    check("home" in output and "running" in output, output)
    assert_here(test)
    # And it can be migrated again.
    target = test.target()
    test.assert_away(target, test.migrate(target))


def taken_back_too_early(test):
    """The target was not dead: its start is refused, and it does not run the guest."""
    target = doubt(test, SLOW)
    command("resolve", "--take-back", test.source.socket, status=0)
    ended(target, 1)
    check(not target.lines(), "the guest ran at the target")
    assert_here(test)


def taken_back_too_late(test):
    """The operator's word is wrong: the target has started the guest."""
    target = doubt(test, SLOW)
    assert_there(test, target)
    check("away" in command("resolve", "--take-back", test.source.socket, status=0), "not away")


def in_the_ledger(test):
    """No process of the source is left: look, and decide, in the ledger."""
    target, ledger = doubt(test, STUCK), "file:" + test.ledger
    test.source.kill()
    target.kill()
    output = command("resolve", "--ledger", ledger, "guest", status=3)
    check("in doubt" in output and "handed" in output, output)
    output = command("run", "--name", "guest", "--ledger", ledger, "--kernel", "checker",
                     "--control", os.path.join(test.folder, "x.qmp"), status=1)
    check("holdfast resolve" in output, output)
    command("resolve", "--ledger", ledger, "--take-back", "guest", status=0)
    output = command("resolve", "--ledger", ledger, "--take-back", "guest", status=1)
    check("not in doubt" in output, output)
    check("no guest" in command("resolve", "--ledger", ledger, "other", status=1), "other?")
    test.source = H.Vm(test)
    assert_here(test)


def noticed(test):
    """What is decided in the ledger is noticed by a source that still asks."""
    target = test.target(filters=(STUCK,))
    test.source.qmp.execute("migrate", uri=target.uri, **{"peer-timeout": 3000,
                                                          "doubt-timeout": 60000})
    H.wait_state(test.source, "CLAIMED")
    command("resolve", "--ledger", "file:" + test.ledger, "--take-back", "guest", status=0)
    wait_outcome(test.source, "home")
    assert_here(test)


# ---- no ledger ---------------------------------------------------------------------------------


def go_commits(test):
    target = test.target()
    test.assert_away(target, test.migrate(target))


def slow_start(test):
    """The target lives, says so, and takes its time: no lost connection, no doubt that stays."""
    target = test.target(filters=(SLOW,))
    answer = test.migrate(target, **{"peer-timeout": 3000, "doubt-timeout": 60000})
    test.assert_away(target, answer)


def declined(test):
    target = test.target(filters=(REFUSES,))
    test.assert_home(target, test.migrate(target), "device 1 (sim1)")


def let_go(test):
    target = doubt(test, SLOW)
    check("GO was sent" in command("resolve", test.source.socket, status=3), "no word of GO")
    assert_there(test, target)
    check("away" in command("resolve", "--let-go", test.source.socket, status=0), "not away")
    check(test.source.status() == "postmigrate", f"the source is {test.source.status()}")


def nobody_knows(test):
    target = doubt(test, STUCK)
    target.kill()
    command("resolve", "--take-back", test.source.socket, status=0)
    assert_here(test)


def unequal(test):
    """One side has a ledger, the other none: refused before the guest is touched."""
    here, test.ledger_uri = test.ledger_uri, None if test.ledger_uri else "none"
    target = test.target()
    test.ledger_uri = here
    test.assert_home(target, test.migrate(target), "ledger")


# ---- a process that comes back -----------------------------------------------------------------


def kill_source(test):
    test.source.process.send_signal(signal.SIGKILL)
    test.source.process.wait()
    test.source.lines()  # nothing corrupt until then
    check(os.path.exists(os.path.join(test.keep, "control")), "nothing was kept")


def back(test):
    """Start the source anew, by the same command line."""
    test.source = H.Vm(test, test.source_machine())


def assert_nothing_kept(test):
    check(not os.path.exists(os.path.join(test.keep, "control")), "it is still kept")


def back_and_home(test):
    """The target refuses while no source is there: the guest was returned, and goes on."""
    doubt(test, SLOW, REFUSES)
    kill_source(test)
    back(test)
    wait_outcome(test.source, "home")
    assert_here(test)
    assert_nothing_kept(test)
    target = test.target()
    test.assert_away(target, test.migrate(target))


def back_and_away(test):
    target = doubt(test, SLOW)
    kill_source(test)
    assert_there(test, target)
    args = [H.HOLDFAST, "run", "--name", "guest", "--serial", "none", "--control",
            test.source.socket, "--ledger", "file:" + test.ledger, *test.source_machine()]
    done = subprocess.run(args + ["--kernel", "checker"], timeout=H.START_S, capture_output=True,
                          text=True, check=False)
    check(done.returncode == 0 and "is away" in done.stderr, done.stderr)
    assert_nothing_kept(test)
    check(os.listdir(test.keep) == ["lock"], f"left behind: {os.listdir(test.keep)}")


def back_and_waits(test):
    target = doubt(test, STUCK)
    kill_source(test)
    wrong = [word if word != test.memory else "128M" for word in test.source_machine()]
    output = command("run", "--name", "guest", "--ledger", "file:" + test.ledger, *wrong,
                     "--kernel", "checker", "--control", test.source.socket, status=1)
    check("memory" in output and "ram" in output, output)
    output = command("run", "--name", "other", "--ledger", "file:" + test.ledger,
                     *test.source_machine(), "--kernel", "checker", "--control",
                     test.source.socket, status=1)
    check('holds guest "guest" in doubt' in output, output)
    back(test)
    target.kill()
    command("resolve", "--take-back", test.source.socket, status=0)
    assert_here(test)
    assert_nothing_kept(test)


def one_folder_one_process(test):
    """The same command line by mistake: refused, and nothing of the running guest is touched."""
    output = command("run", "--name", "guest", "--ledger", "file:" + test.ledger,
                     *test.source_machine(), "--kernel", "checker", "--control",
                     os.path.join(test.folder, "twice.qmp"), status=1)
    check("another process keeps its guest there" in output, output)
    back_and_home(test)


def no_room(test):
    """The folder has no room for the memory: said at the start, not by SIGBUS."""
    small = os.path.join(test.folder, "small")
    os.mkdir(small)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M", "none", small], check=False,
                          capture_output=True, text=True)
    if done.returncode:
        print(f"# not shown, since no tmpfs can be mounted here: {done.stderr.strip()}")
        return
    try:
        output = command("run", "--name", "full", "--ledger", "file:" + test.ledger, *test.machine,
                         "--kernel", "checker", "--keep", small, "--control",
                         os.path.join(test.folder, "full.qmp"), status=1)
        check("No space left" in output and small in output, output)
    finally:
        subprocess.run(["umount", small], check=True)


def killed_before(test):
    """Killed while the guest still ran: as any crash, and the next one boots."""
    target = test.target()
    test.source.qmp.execute("migrate", uri=target.uri, filters=["delay:memory.dirty_sync:5000"])
    H.wait_state(test.source, "PRECOPY")
    test.source.process.send_signal(signal.SIGKILL)
    test.source.process.wait()
    ended(target, 1)
    assert_nothing_kept(test)
    back(test)
    assert_here(test)


NONE = {"ledger_uri": "none"}
KEEP = {"keep": True}
SUITES = {
    "resolve": [
        ("asked again, the ledger says that it is away", {}, asked),
        ("the target is dead, and the guest is taken back", {}, taken_back),
        ("taken back, the target's late start is refused", {}, taken_back_too_early),
        ("taken back too late, the target has it", {}, taken_back_too_late),
        ("no process is left: resolved in the ledger", {}, in_the_ledger),
        ("what is resolved in the ledger is noticed by the source", {}, noticed),
    ],
    "no-ledger": [
        ("GO commits", NONE, go_commits),
        ("GO commits, and the target starts slowly", NONE, slow_start),
        ("the target declines, and the guest is at home", NONE, declined),
        ("in doubt, the guest is let go", NONE, let_go),
        ("in doubt, the guest is taken back", NONE, nobody_knows),
        ("the source has no ledger, the target has one", NONE, unequal),
        ("the source has a ledger, the target has none", {}, unequal),
    ],
    "keep": [
        ("killed in doubt, it comes back, and the guest was returned", KEEP, back_and_home),
        ("killed in doubt, it comes back, and the guest is away", KEEP, back_and_away),
        ("killed in doubt, it comes back, waits, and is resolved", KEEP, back_and_waits),
        ("killed while the guest ran: nothing is kept", KEEP, killed_before),
        ("a second process with the same folder", KEEP, one_folder_one_process),
        ("a folder without room", {}, no_room),
    ],
}

if __name__ == "__main__":
    sys.exit(H.main(SUITES))
