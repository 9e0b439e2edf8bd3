"""The scripts for schedulers in the documentation: what can be checked without a cluster."""

import re
import subprocess
from pathlib import Path

import yaml

from optaxaccel import cli

PAGE = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def command_in(text):
    """Return the one training command as words, variables and continuation lines resolved."""
    [command] = re.findall(r"optaxaccel (train .*?)(?<!\\)\n", text.replace("\\\n", " ") + "\n")
    return command.replace("$HOME", "/you").replace("$JOB_COMPLETION_INDEX", "3").replace('"', "").split()


def test_the_slurm_script_is_shell_and_its_command_is_ours(tmp_path):
    script = block("bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    command = cli.from_run.parse(command_in(script))
    assert command.distributed
    assert command.resume
    asked = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", script))
    assert command.run.batch_size % (int(asked["nodes"]) * int(asked["ntasks-per-node"])) == 0


def test_the_jobset_is_yaml_and_its_parts_agree():
    [job] = yaml.safe_load(block("yaml"))["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    command = cli.from_run.parse(command_in(container["args"][0]))
    assert command.process_count == spec["completions"] == spec["parallelism"]
    assert command.process_index == 3
    assert command.coordinator.startswith(f"optaxaccel-{job['name']}-0-0.optaxaccel:")
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [cli.BAD_INPUT, cli.DIVERGED]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never"  # pod failure policies need it
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_the_commands_of_sweeps_are_ours():
    sweeps = PAGE[PAGE.index("## Sweeps over many machines") :]
    script = re.search(r"```console\n(.*?)```", sweeps, re.DOTALL)[1].replace("\\\n", " ")
    commands = re.findall(r"optaxaccel (train .*)", script)
    assert len(commands) == 2
    for command, executor in zip(commands, ("ray", "slurm"), strict=True):
        options = cli.from_run.parse(command.split())
        assert (options.executor, options.workers) == (executor, 6)
        assert options.executor_args
