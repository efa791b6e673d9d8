"""A function has the limits of the user's command, whatever the engine and the shim need."""

import resource

import pytest


@pytest.fixture
def few_descriptors():
    """The soft limit that a command started now inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    yield 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_functions_have_the_commands_limit(project, few_descriptors):
    project.models(
        f"""
        import resource
        import numpy as np

        @zerrow.model()
        def limited(t=zerrow.Model("t")):
            # Each in a chunk of its own where the shim serves it; nothing is touched.
            arrays = [np.empty(1 << 20) for _ in range(400)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            assert soft == {few_descriptors} < hard, (soft, hard)
            with open(__file__) as file:
                assert file.fileno() < 100
            command = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
            inherited = subprocess.check_output([sys.executable, "-c", command])
            assert int(inherited) == {few_descriptors}
            return pa.table({{"many": [sum(a.nbytes for a in arrays)]}})
        """
    )
    run = project.run()
    assert run.code == 0, run.models["limited"]["error"]
