"""The extra `tpu`: the compiler of the TPUs takes a train step, on a machine that has no TPU."""

from __future__ import annotations

import json
import subprocess
import sys

command = ["doctor", "price_attn", "--tiny", "--compile-for", "v5e:1x1,v5e:2x2", "--json"]
done = subprocess.run([sys.executable, "-P", "-m", "zoo", *command], capture_output=True, text=True, timeout=900)
assert done.returncode == 0, done.stderr[-3000:]
one, four = json.loads(done.stdout)
assert one["fits"] and four["fits"], (one, four)
assert not one["findings"] and not four["findings"]
assert one["collectives"] == {} and four["collectives"].get("all-reduce", 0) > 0, (one, four)
print({name: report["versions"] for name, report in (("one", one),)})
