import subprocess
import sys


def test_the_package_alone_imports_only_the_standard_library():
    code = "import sys; before = set(sys.modules); import kfp_bert_components; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = eval(done.stdout)
    assert {name.partition(".")[0] for name in imported} <= {"kfp_bert_components", *sys.stdlib_module_names}
