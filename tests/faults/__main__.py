import sys, time, traceback
from tests.faults import machine, processes, storage
from tests.faults.stage import played

ALL = {**processes.MANY, "kill all": processes.kill_all, **storage.FAULTS, **machine.FAULTS}
for n in sys.argv[2:] or ALL:
    t = time.time()
    try:
        o = played(n, ALL[n], int(sys.argv[1]))
        print(o, o.is_good, flush=True)
    except BaseException:
        print(n, "FAILED", time.time() - t)
        traceback.print_exc(limit=-3)
        sys.stderr.flush()
