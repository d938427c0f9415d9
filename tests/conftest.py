"""The tiers of the tests, and their isolation from the user.

Each test belongs to one tier, which is a mark: `pytest -m unit`. `pytest` alone runs the tiers of `QUICK`, in
parallel; files and folders that are named run whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, settings

from tests.support.isolation import forbid_connections_and_processes, isolate

# Before any other conftest is imported: openenv_gym registers the names that it finds when it is imported.
_restore = isolate()

TIERS = (
    "unit",
    "integration",
    "slow",
    "terminal",
    "libraries",
    "trainers",
    "containers",
    "faults",
    "browser",
    "alone",
)
QUICK = "unit or integration"

# The tier of a file or a folder, unless a test or its module is marked. All others are integration tests.
TIER_OF = {
    "browser": "browser",
    "cli/test_bundle.py": "slow",
    "cli/test_commands.py": "slow",
    "cli/test_docker_text.py": "unit",
    "cli/test_fork.py": "slow",
    "cli/test_generated_readme.py": "slow",
    "cli/test_gymnasium_options.py": "slow",
    "cli/test_hub_failures.py": "slow",
    "cli/test_info.py": "slow",
    "cli/test_hub_search.py": "slow",
    "cli/test_init.py": "slow",
    "cli/test_links.py": "unit",
    "cli/test_listing.py": "slow",
    "cli/test_private_space.py": "slow",
    "cli/test_push.py": "slow",
    "cli/test_register.py": "slow",
    "cli/test_secret_files.py": "unit",
    "cli/test_serve_settings.py": "slow",
    "cli/test_terminal_output.py": "unit",
    "cli/validation/test_command.py": "slow",
    "cli/validation/test_locks.py": "slow",
    "cli/validation/test_runtime.py": "slow",
    "cli/validation/test_static.py": "unit",
    "containers": "containers",
    "docs/test_architecture.py": "unit",
    "docs/test_blocks.py": "slow",
    "docs/test_build_page.py": "slow",
    "docs/test_kubernetes.py": "unit",
    "docs/test_site.py": "slow",
    "envs": "slow",
    "faults": "faults",
    "faults/test_floods.py": "alone",
    "faults/test_half_open.py": "alone",
    "faults/test_hanging_slots.py": "alone",
    "faults/test_soak.py": "alone",
    "gateways": "containers",
    "guide": "slow",
    "gym/test_arrays.py": "unit",
    "gym/test_auto.py": "slow",
    "gym/test_backend.py": "unit",
    "gym/test_backoff.py": "unit",
    "gym/test_columns.py": "unit",
    "gym/test_compression.py": "unit",
    "gym/test_declared_spaces.py": "unit",
    "gym/test_framing.py": "unit",
    "gym/test_hostile_schemas.py": "slow",
    "gym/test_hostile_servers.py": "faults",
    "gym/test_hostile_messages.py": "unit",
    "gym/test_hub_names.py": "unit",
    "gym/test_partition.py": "unit",
    "gym/test_planted_notes.py": "slow",
    "gym/test_pydantic_types.py": "slow",
    "gym/test_reconnect.py": "unit",
    "gym/test_recovery.py": "unit",
    "gym/test_registration.py": "slow",
    "gym/test_results.py": "unit",
    "gym/test_resume.py": "unit",
    "gym/test_server_pool.py": "unit",
    "gym/test_session.py": "unit",
    "gym/test_several_servers.py": "slow",
    "gym/test_several_servers_placing.py": "slow",
    "gym/test_shared_connections.py": "slow",
    "gym/test_sources.py": "slow",
    "gym/test_spaces.py": "unit",
    "gym/test_spaces_casting.py": "unit",
    "gym/test_spaces_golden.py": "unit",
    "gym/test_spaces_properties.py": "unit",
    "gym/test_spaces_samples.py": "unit",
    "gym/test_spaces_speed.py": "alone",
    "gym/test_spaces_unions.py": "unit",
    "gym/test_spawned_processes.py": "slow",
    "gym/test_systems.py": "slow",
    "gym/test_this_machine.py": "unit",
    "gym/test_wild_payloads.py": "unit",
    "gym/test_wire_v1.py": "unit",
    "gym/test_wire_v2.py": "unit",
    "gym/test_wrappers.py": "unit",
    "integrations": "slow",
    "integrations/test_pettingzoo.py": "slow",
    "interop": "libraries",
    "notebooks": "libraries",
    "providers/test_documents.py": "slow",
    "providers/test_endings.py": "slow",
    "providers/test_hub.py": "slow",
    "providers/test_keys.py": "slow",
    "providers/test_locked_folder.py": "slow",
    "providers/test_process.py": "slow",
    "providers/test_progress.py": "slow",
    "providers/test_runtime.py": "unit",
    "providers/test_uv.py": "slow",
    "ray": "libraries",
    "scaffolds": "slow",
    "server/playground/test_form_errors.py": "unit",
    "server/playground/test_form_fields.py": "unit",
    "server/playground/test_form_keys.py": "unit",
    "server/playground/test_observation_view.py": "unit",
    "server/test_factories.py": "slow",
    "server/test_graceful_shutdown.py": "slow",
    "server/test_gymnasium_maker.py": "slow",
    "server/test_json_output.py": "slow",
    "server/test_key_stays_private.py": "slow",
    "server/test_loading.py": "slow",
    "server/test_operations.py": "slow",
    "server/test_probes.py": "slow",
    "server/test_read_only.py": "slow",
    "server/test_waiting_line.py": "unit",
    "server/test_workers.py": "slow",
    "terminal": "terminal",
    "trainers": "trainers",
    "test_distribution.py": "slow",
    "test_import_time.py": "slow",
    "test_package_index.py": "slow",
    "test_packaging.py": "unit",
    "test_workflows.py": "unit",
}

# A file is run by one worker. These take longest, so they are begun first.
LONGEST = (
    "ray/test_ray.py",
    "interop/test_versions.py",
    "gym/test_spaces_properties.py",
    "cli/validation/test_runtime.py",
    "cli/test_init.py",
    "cli/test_hub_failures.py",
    "cli/test_bundle.py",
)

for _name, _examples in {"quick": 50, "ci": 200, "long": 4000}.items():
    settings.register_profile(
        _name, max_examples=_examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
settings.load_profile("quick")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the quick tiers, in parallel, if nothing else is asked for."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.usepdb:
        return
    if not config.option.markexpr:
        config.option.markexpr = QUICK
    # The workers of pytest-xdist come here too, with the arguments of the command.
    if not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses, config.option.dist = min(os.cpu_count() or 1, 4), "loadfile"


def pytest_configure(config: pytest.Config) -> None:
    config.add_cleanup(_restore)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the mark of its tier, so that `-m` can select it; begin with the longest files."""
    folder = Path(__file__).parent
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}.intersection(TIERS)
        if len(marks) > 1:
            raise pytest.UsageError(f"{item.nodeid} is in more than one tier: {', '.join(sorted(marks))}")
        if not marks and folder in item.path.parents:
            path = PurePosixPath(item.path.relative_to(folder).as_posix())
            names = (TIER_OF.get(str(name)) for name in (path, *path.parents))
            item.add_marker(next((name for name in names if name), "integration"))


@pytest.fixture(autouse=True)
def _is_pure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a unit test that opens a connection or starts a process."""
    if request.node.get_closest_marker("unit") is None:
        yield
    else:
        with forbid_connections_and_processes():
            yield


@pytest.fixture(scope="session")
def serve_gym() -> Iterator[Callable[[str], str]]:
    """Serve a Gymnasium id from a process that is kept for the session; return the base URL."""
    from openenv_gym.providers.process import ProcessProvider

    servers: dict[str, ProcessProvider] = {}

    def serve(gym_id: str) -> str:
        if gym_id not in servers:
            servers[gym_id] = ProcessProvider(gym=gym_id)
            servers[gym_id].launch()
        return servers[gym_id].base_url

    yield serve
    for server in servers.values():
        server.stop()
