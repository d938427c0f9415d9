"""Prints what `PyExecutor` makes of some code, as JSON. Runs with the published package and with ours."""

import json

from openenv.core.tools import PyExecutor
from openenv.core.tools.local_python_executor import PyExecutor as SameExecutor

RUNS = [
    "print('hello')",
    "1 + 1",
    "print('a')\nprint('b')\n[1, 2, {'x': None}]",
    "x = 5",
    "x * 2",
    "{1, 2}",
    "import math\nmath.sqrt(16)",
    "import statistics\nstatistics.mean([1, 2, 3])",
    "import os\nos.listdir('.')",
    "print('before')\n1 / 0",
    "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nf(10)",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    print('ZeroDivisionError' in format_exc())",
    "safe_json_dumps({'a': {1}})",
    "this is not Python",
    "undefined_name",
    "",
]

assert SameExecutor is PyExecutor
results = []
for imports in (None, ["json"], ["*"]):
    executor = PyExecutor(imports)
    for code in [*RUNS, "import json\njson.dumps([1])"]:
        result = executor.run(code)
        last_line = result.stderr.strip().rpartition("\n")[2].partition(" Authorized imports")[0]
        results.append([code, result.stdout, last_line, bool(result.stderr), result.exit_code])
print(json.dumps(results))
