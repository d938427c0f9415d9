"""Stand-ins for the environments that the published package's catalogue lists.

Each has the shape of the original: the fields of its models with their types and defaults, its base classes,
imports and layout, the parameters of its reset and step, how it makes its application, and whether it has an
`openenv.yaml`. What happens in it is trivial, so that it needs no game, browser, simulator or service.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """What one folder is made from.

    Attributes:
        name: The folder.
        prefix: What the names of its classes begin with.
        action: The fields of its action, one a line; empty if its actions call `tools`.
        observation: The fields of its observation.
        state: The fields of its state; empty for a plain State.
        values: Keyword arguments for the observation's required fields.
        tools: Functions, one a line: ``name(arguments) -> type: body``.
        models: Lines before the models.
        imports: The module of the models' base classes, below ``openenv.core.env_server``.
        layout: How `server/app.py` finds the models: "either" (relative, or else absolute), "package",
            "relative" or "flat".
        has_manifest: Whether there is an `openenv.yaml`.
        is_concurrent: Whether the class says that it supports several sessions.
        makes: What the application is given: the "class", a "function" or a "lambda".
        reset: The parameters of its reset.
        step: The parameters of its step, after the action.
        bases: The type parameters of its base class.
        head: Lines at the top of the environment's module.
        body: Further lines of the environment's class.
        made_with: Arguments of ``super().__init__``.
        before: Lines before the application is made.
        options: Further arguments of ``create_app``.
        after: Lines after the application is made.
        title: What the application calls itself, if that is not its folder's name.
    """

    name: str
    prefix: str
    action: str = ""
    observation: str = ""
    state: str = ""
    values: str = ""
    tools: str = ""
    models: str = ""
    imports: str = "types"
    layout: str = "either"
    has_manifest: bool = True
    is_concurrent: bool = False
    makes: str = "class"
    reset: str = ", seed=None, episode_id=None, **kwargs"
    step: str = ""
    bases: str = ""
    head: str = ""
    body: str = ""
    made_with: str = ""
    before: str = ""
    options: str = ""
    after: str = ""
    title: str = ""


ENVIRONMENTS = (
    Published(
        "agent_world_model_env",
        "AWM",
        models="""
from typing import Annotated
from pydantic import ConfigDict, TypeAdapter, field_validator
from openenv.core.env_server.mcp_types import CallToolAction, ListToolsAction, ListToolsObservation
_actions = TypeAdapter(Annotated[ListToolsAction | CallToolAction, Field(discriminator="type")])
""",
        action="""
@classmethod
def model_validate(cls, obj, **kwargs): return _actions.validate_python(obj)
@classmethod
def model_json_schema(cls, **kwargs): return _actions.json_schema(**kwargs)
""",
        observation="""
model_config = ConfigDict(extra="forbid")
reward_type: str | None = None
scenario: str | None = None
task_idx: int | None = None
has_verifier: dict | bool | None = None
num_tools: int | None = None
tool_name: str | None = None
tool_result: Any = None
error: str | None = None
verify_result: dict | None = None
scenarios: list | None = None
@field_validator("has_verifier", mode="before")
@classmethod
def _as_dict(cls, value): return {"sql": value, "code": value} if value is True else value
def model_dump(self, **kwargs):
    kwargs.setdefault("exclude_none", True)
    return super().model_dump(**kwargs)
""",
        head="from openenv.core.env_server.mcp_types import CallToolAction, ListToolsAction, Tool\n"
        "from openenv.core.env_server.mcp_types import ListToolsObservation",
        reset=", seed=None, episode_id=None, scenario=None, task_idx=None, **kwargs",
        step=", timeout_s=None, **kwargs",
        body="""
def act(self, action):
    if isinstance(action, ListToolsAction):
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        return ListToolsObservation(tools=[Tool(name="add_user", description="Add", input_schema=schema)])
    assert isinstance(action, CallToolAction)
    return AWMObservation(reward_type="ok", tool_name=action.tool_name, tool_result=action.arguments)
""",
        is_concurrent=True,
        makes="lambda",
        layout="either",
        before="from fastapi.responses import JSONResponse",
        options=", max_concurrent_envs=64",
        after="""
app.routes[:] = [route for route in app.routes if getattr(route, "path", "") not in ("/reset", "/step")]
@app.post("/reset", tags=["disabled"])
async def reset_not_supported(): return JSONResponse(status_code=400, content={"error": "use /ws"})
@app.post("/step", tags=["disabled"])
async def step_not_supported(): return JSONResponse(status_code=400, content={"error": "use /ws"})
@app.get("/stats")
async def stats(): return JSONResponse(content={"sessions": 0})
""",
    ),
    Published(
        "atari_env",
        "Atari",
        models="from __future__ import annotations\nfrom typing import List, Literal, Optional",
        imports="",
        action="""
action_id: int
game_name: str = "pong"
obs_type: Literal["rgb", "grayscale", "ram"] = "rgb"
full_action_space: bool = False
""",
        observation="""
screen: List[int]
screen_shape: List[int]
legal_actions: List[int]
lives: int = 0
episode_frame_number: int = 0
frame_number: int = 0
screen_image: Optional[str] = None
""",
        state="""
game_name: str = "pong"
obs_type: Literal["rgb", "grayscale", "ram"] = "rgb"
full_action_space: bool = False
mode: Optional[int] = None
repeat_action_probability: float = 0.0
""",
        values="screen=[0] * 128, screen_shape=[128], legal_actions=[0, 1, 3]",
        has_manifest=False,
        makes="function",
        reset="",
    ),
    Published(
        "browsergym_env",
        "BrowserGym",
        models="from typing import List, Optional",
        action='action_str: str = Field(..., description="An action")',
        observation="""
text: str = ""
url: str = ""
screenshot: Optional[List[List[List[int]]]] = None
goal: str = ""
axtree_txt: str = ""
pruned_html: str = ""
error: str = ""
last_action_error: bool = False
""",
        state='benchmark: str = ""\ntask_name: str = ""\ntask_id: Optional[str] = None',
        values="screenshot=[[[0, 1, 2]] * 4] * 3",
        layout="package",
        is_concurrent=True,
        makes="function",
        reset=", seed=None, task_name=None",
        body="REQUIRES_SINGLE_THREAD_EXECUTOR = True",
    ),
    Published(
        "calendar_env",
        "Calendar",
        models="from typing import Dict, List, Literal, Optional",
        action="""
action_type: Literal["ListToolsAction", "ToolCallAction"] = Field(..., description="Type of action")
tool_name: Optional[str] = Field(None, description="Name of tool to call")
arguments: Optional[Dict[str, Any]] = Field(default_factory=dict, description="Arguments")
""",
        observation="""
success: bool = Field(True, description="Whether the action succeeded")
error_message: Optional[str] = None
tools_list: Optional[List[Dict[str, Any]]] = None
tool_result: Optional[Dict[str, Any]] = None
metadata: Dict[str, Any] = Field(default_factory=dict)
done: bool = False
reward: Optional[float] = None
""",
        values='tools_list=[{"name": "colors", "inputSchema": {"type": "object"}}]',
        reset="",
    ),
    Published(
        "carla_env",
        "Carla",
        models="from typing import Dict, List, Optional",
        imports="",
        action="""
action_type: str = Field(default="observe", description="Type of action")
throttle: float = Field(default=0.0, ge=0.0, le=1.0)
steer: float = Field(default=0.0, ge=-1.0, le=1.0)
brake: float = Field(default=0.0, ge=0.0, le=1.0)
lane_direction: Optional[str] = None
target_speed_kmh: Optional[float] = Field(default=None, ge=0.0, le=200.0)
target_lane_id: Optional[str] = None
""",
        observation="""
scene_description: str = ""
speed_kmh: float = 0.0
location: tuple[float, float, float] = (0.0, 0.0, 0.0)
rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
current_lane: str = "unknown"
nearby_actors: List[Dict[str, Any]] = Field(default_factory=list)
collision_detected: bool = False
collided_with: Optional[str] = None
step_number: int = 0
""",
        state='scenario_name: str = "default"\ncollisions: List[Dict[str, Any]] = []',
        values='nearby_actors=[{"type": "walker", "distance": 3.5}]',
        head="""
from openenv.core.env_client import StepResult
from openenv.core.rubrics.trajectory import ExponentialDiscountingTrajectoryRubric
class Trolley(ExponentialDiscountingTrajectoryRubric):
    def score_trajectory(self, trajectory): return float(trajectory[-1][1].done)
""",
        made_with="rubric=Trolley(gamma=0.5)",
        layout="relative",
        makes="function",
        reset=", scenario_name=None, scenario_config=None, seed=None, **kwargs",
    ),
    Published(
        "chat_env",
        "Chat",
        models="""
class Tensor(list):
    '''Stands for torch.Tensor: Pydantic has no JSON Schema for it.'''
    __get_pydantic_core_schema__ = classmethod(lambda cls, *_: core_schema.is_instance_schema(cls))
from pydantic import field_validator
from pydantic_core import core_schema
""",
        action="""
tokens: list[int] = Field(..., min_length=1)
@field_validator("tokens", mode="before")
@classmethod
def _from_a_tensor(cls, value): return [int(token) for token in value]
""",
        observation="""
messages: list[dict[str, str]] = Field(default_factory=list)
tokens: list[int] = Field(default_factory=list)
""",
        state="""
history_messages: list[dict[str, str]] = Field(default_factory=list)
history_tokens: list[Tensor] = Field(default_factory=list)
""",
        head="""
from openenv.core.env_server.interfaces import Message, ModelTokenizer, Transform
class Words:
    def apply_chat_template(self, conversation, tokenize=True, return_tensors=None, **kwargs):
        return [len(message["content"]) for message in conversation]
    def decode(self, token_ids, skip_special_tokens=False, **kwargs): return " ".join(map(str, token_ids))
""",
        body="""
tokenizer: ModelTokenizer = Words()
def act(self, action):
    message: Message = {"role": "assistant", "content": self.tokenizer.decode(action.tokens)}
    self._state.history_messages.append(message)
    return ChatObservation(messages=list(self._state.history_messages), tokens=action.tokens)
""",
        made_with="transform=None",
        has_manifest=False,
        makes="function",
        before='print("Warning: transformers is not installed")',
        reset="",
    ),
    Published(
        "chess_env",
        "Chess",
        models="from __future__ import annotations\nfrom typing import List, Optional",
        imports="",
        action="move: str",
        observation="""
fen: str = ""
legal_moves: List[str] = Field(default_factory=list)
is_check: bool = False
result: Optional[str] = None
""",
        state="""
fen: str = "8/8/8/8/8/8/8/8 w - - 0 1"
current_player: str = "white"
move_history: List[str] = Field(default_factory=list)
step_count: int = 0
""",
        values='fen="8/8/8/8/8/8/8/8 w - - 0 1", legal_moves=["e2e4"], metadata={"evaluation": 0.25}',
        head="""
from openenv.core.rubrics.trajectory import ExponentialDiscountingTrajectoryRubric
class ChessWinLossRubric(ExponentialDiscountingTrajectoryRubric):
    def score_trajectory(self, trajectory): return getattr(trajectory[-1][1], "reward", 0.0)
""",
        made_with="rubric=ChessWinLossRubric(gamma=0.99)",
        layout="relative",
        reset=", fen: str = None",
    ),
    Published(
        "coding_env",
        "Code",
        models="from __future__ import annotations",
        imports="interfaces",
        action="code: str",
        observation='stdout: str = ""\nstderr: str = ""\nexit_code: int = 0',
        state="last_exit_code: int = 0",
        head="""
from openenv.core.env_server.base_transforms import CompositeTransform, NullTransform
from openenv.core.env_server.interfaces import Transform
class Safety(Transform):
    def __call__(self, observation):
        observation.metadata["violation"] = None
        return observation
""",
        made_with="transform=CompositeTransform([Safety(), NullTransform()])",
        body="def act(self, action): return self._apply_transform(CodeObservation(stdout=action.code))",
        layout="package",
        reset="",
    ),
    Published(
        "coding_tools_env",
        "CodingTools",
        models="from __future__ import annotations\nfrom pydantic import BaseModel\n"
        "class TodoItem(BaseModel):\n    id: str\n    content: str\n    status: str\n    priority: str",
        state="sandbox_id: str | None = None\ntodos: list[TodoItem] = Field(default_factory=list)",
        tools="""
bash(command: str, timeout: float | None = 30) -> str: return f"ran {command}"
read(file_path: str, offset: int | None = None, limit: int | None = None) -> str: return file_path
multi_edit(file_path: str, edits: list[dict[str, Any]]) -> str: return f"applied {len(edits)} edits"
ls(path: str = ".", ignore: list[str] | None = None) -> str: return path
todo_write(todos: list[dict[str, Any]]) -> str: return f"stored {len(todos)} todos"
submit_solution() -> str: return "reward=0.0"
""",
    ),
    Published(
        "connect4_env",
        "Connect4",
        models="from __future__ import annotations\nfrom typing import List",
        imports="",
        action="column: int",
        observation="board: List[List[int]]\nlegal_actions: List[int]",
        state="board: List[List[int]] = Field(default_factory=lambda: [[0] * 7 for _ in range(6)])\n"
        "next_player: int = 1",
        values="board=[[0] * 7] * 6, legal_actions=list(range(7)), metadata={'next_player': 1}",
        has_manifest=False,
        reset="",
    ),
    Published(
        "dipg_safety_env",
        "DIPG",
        models="from typing import Dict",
        imports="",
        action="llm_response: str",
        observation='context: str = ""\nquestion: str = ""',
        state='current_context: str = ""\nexpected_answer: Dict[str, Any] = Field(default_factory=dict)',
        values='context="A note", question="What is it?"',
        has_manifest=False,
        makes="function",
    ),
    Published(
        "dm_control_env",
        "DMControl",
        models="from typing import Dict, List, Optional",
        action="values: List[float]",
        observation="observations: Dict[str, List[float]] = Field(default_factory=dict)\n"
        "pixels: Optional[str] = None",
        state='domain_name: str = "cartpole"\naction_spec: Dict[str, Any] = Field(default_factory=dict)',
        values='observations={"position": [0.0, 1.0]}',
        is_concurrent=True,
        reset=", domain_name=None, task_name=None, seed=None, render: bool = False, **kwargs",
        step=", render: bool = False, **kwargs",
        head="import asyncio",
        body="""
async def reset_async(self, domain_name=None, task_name=None, seed=None, render=False, **kwargs):
    return await asyncio.to_thread(self.reset, domain_name, task_name, seed, render, **kwargs)
async def step_async(self, action, render=False, **kwargs):
    return await asyncio.to_thread(self.step, action, render=render, **kwargs)
""",
    ),
    Published(
        "echo_env",
        "Echo",
        tools="""
echo_message(message: str) -> str: return message
echo_with_length(message: str) -> dict: return {"message": message, "length": len(message)}
""",
    ),
    Published(
        "finqa_env",
        "FinQA",
        imports="",
        state='current_question: str = ""\nground_truth: str = ""',
        tools="""
get_descriptions(company_name: str) -> str: return "[]"
sql_query(company_name: str, table_name: str, query: str) -> str: return query
submit_answer(answer: str) -> str: return f"Submitted {answer}"
""",
        layout="relative",
        makes="function",
        body="""
async def step_async(self, action, timeout_s=None, **kwargs):
    observation = await super().step_async(action, timeout_s=timeout_s, **kwargs)
    if getattr(action, "tool_name", "") == "submit_answer":
        return Observation(done=True, reward=1.0, metadata={**observation.metadata, "ground_truth": "42"})
    return observation
""",
    ),
    Published(
        "finrl_env",
        "FinRL",
        models="""
from pydantic import BaseModel
class Action(BaseModel): pass
class Observation(BaseModel):
    done: bool = False
    reward: float | None = None
""",
        imports="none",
        action="actions: list[float]",
        observation='state: list[float]\nportfolio_value: float = 0.0\ndate: str = ""',
        values="state=[100000.0, 1.0, 0.0]",
        has_manifest=False,
        makes="function",
        before='print("No config file found. Using default sample configuration.")',
        after='@app.get("/config")\ndef get_config(): return {"stock_dim": 1}',
    ),
    Published(
        "git_env",
        "Git",
        models="from __future__ import annotations\nfrom typing import Optional",
        imports="",
        action="""
action_type: str = "list_repos"
repo_name: str = ""
target_dir: Optional[str] = None
command: str = ""
working_dir: str = ""
""",
        observation="""
success: bool = False
message: str = ""
output: str = ""
error: str = ""
repos: list[dict[str, str]] = Field(default_factory=list)
""",
        state='gitea_ready: bool = False\nworkspace_path: str = "/workspace"',
        values='success=True, repos=[{"name": "demo", "clone_url": "http://127.0.0.1:9/demo.git"}]',
        head="from pathlib import Path\nfrom openenv.core.tools.git_server_client import GitServerClient",
        body="""
git_client = GitServerClient(
    gitea_url="http://127.0.0.1:9",
    username="openenv",
    password="openenv",
    workspace_dir=str(Path(__file__).parents[1] / "workspace"),
)
""",
        has_manifest=False,
        makes="function",
        reset=", task_id: str | None = None",
    ),
    Published(
        "grid_world_env",
        "GridWorld",
        models="""
from __future__ import annotations
from enum import Enum
class MoveAction(str, Enum):
    UP = "UP"
    DOWN = "DOWN"
    LEFT = "LEFT"
    RIGHT = "RIGHT"
""",
        action='action: MoveAction = Field(..., description="The direction")',
        observation="""
x: int = Field(..., description="Current X position")
y: int = Field(..., description="Current Y position")
message: str = Field("", description="Status message")
reward: float = Field(0.0, description="Reward received from the last action")
done: bool = Field(False, description="Whether the episode has ended")
""",
        values="x=1, y=2",
    ),
    Published(
        "julia_env",
        "Julia",
        imports="",
        action="core_code: str\ntest_code: str | None = None",
        observation="""
stdout: str = ""
stderr: str = ""
exit_code: int = 0
tests_passed: int = 0
code_compiles: bool = True
""",
        state="last_exit_code: int = 0\nlast_code_compiles: bool = True",
        makes="function",
        options=", max_concurrent_envs=int(os.getenv('MAX_WORKERS', '8'))",
        before="import os",
        is_concurrent=True,
    ),
    Published(
        "jupyter_env",
        "Jupyter",
        models="from typing import List, Optional\nfrom pydantic import BaseModel\n"
        "class NotebookCell(BaseModel):\n    cell_id: str\n    code: str\n    images: List[str] = []",
        state="cells: List[NotebookCell] = Field(default_factory=list)\nsandbox_id: Optional[str] = None",
        tools="""
add_and_execute_code_cell(code: str) -> str: return f"Out: {code}"
execute_shell_command(command: str) -> str: return command
get_notebook_state(include_images: bool = False) -> str: return "no cells"
final_answer(answer: str) -> str: return f"Answer submitted: {answer}"
""",
        options=", gradio_builder=None",
    ),
    Published(
        "kernrl",
        "Kernel",
        models="from __future__ import annotations\nfrom typing import Optional",
        imports="interfaces",
        action="code: str",
        observation="""
problem_id: str
problem_description: str
gpu_info: str
turn: int
max_turns: int
feedback: str = ""
compilation_success: bool = False
correctness_pass: Optional[bool] = None
speedup: Optional[float] = None
""",
        state="problem_id: Optional[str] = None\nturn: int = 0\nsolved: bool = False",
        values='problem_id="L1_1", problem_description="matmul", gpu_info="none", turn=0, max_turns=10',
        reset=", problem_id=None",
    ),
    Published(
        "maze_env",
        "Maze",
        models="from typing import List, Optional",
        action="action: int",
        observation="""
legal_actions: List[int] = Field(default_factory=list)
current_position: List[int] = Field(default_factory=list)
previous_position: List[int] = Field(default_factory=list)
""",
        state="episode_id: Optional[str] = None\nstep_count: int\nstatus: str = 'playing'",
        values="legal_actions=[0, 1], current_position=[0, 0]",
        options=", max_concurrent_envs=1",
        reset="",
    ),
    Published(
        "openapp_env",
        "OpenApp",
        models="from typing import Dict, List, Optional",
        imports="openenv_core",
        action='action_type: str = Field(..., description="Type of action")\nbid: Optional[str] = None\n'
        "text: Optional[str] = None\nvalue: Optional[str] = None\nurl: Optional[str] = None",
        observation="""
html: str = ""
open_pages_urls: List[str] = Field(default_factory=list)
active_page_index: int = Field(default=0, ge=0)
screenshot: Optional[str] = None
app_state: Dict[str, Any] = Field(default_factory=dict)
task_info: Optional[Dict[str, Any]] = None
last_action_error: Optional[str] = None
""",
        values='open_pages_urls=["http://127.0.0.1:5001"], app_state={"todo": []}',
        has_manifest=False,
    ),
    Published(
        "opencode_env",
        "OpenCode",
        models="from typing import Optional",
        state="sandbox_id: Optional[str] = None",
        tools="""
run_rollout(endpoint: str = "", instruction: str = "", setup: Optional[list[str]] = None, \
disable_thinking: Optional[bool] = None, max_tokens_cap: int = 4096) -> str: return '{"reward": null}'
""",
        head="from __future__ import annotations\nfrom typing import Optional",
        options=", gradio_builder=None",
    ),
    Published(
        "openspiel_env",
        "OpenSpiel",
        models="from __future__ import annotations\nfrom typing import Dict, List, Optional",
        imports="",
        action='action_id: int\ngame_name: str = "catch"\n'
        "game_params: Dict[str, Any] = Field(default_factory=dict)",
        observation="""
info_state: List[float]
legal_actions: List[int]
game_phase: str = "playing"
current_player_id: int = 0
opponent_last_action: Optional[int] = None
""",
        state='game_name: str = "catch"\nagent_player: int = 0\nnum_players: int = 1',
        values="info_state=[0.0, 1.0], legal_actions=[0, 1, 2]",
        layout="relative",
        makes="function",
    ),
    Published(
        "reasoning_gym_env",
        "ReasoningGym",
        tools="""
get_question() -> dict: return {"question": "2 + 2?", "task": "sums"}
submit_answer(answer: str) -> dict: return {"score": 1.0, "correct_answer": "4"}
""",
        body="""
async def step_async(self, action, timeout_s=None, **kwargs):
    observation = await super().step_async(action, timeout_s=timeout_s, **kwargs)
    observation.done = getattr(action, "tool_name", "") == "submit_answer"
    observation.reward = float(observation.done)
    return observation
""",
    ),
    Published(
        "repl_env",
        "REPL",
        models="""
from typing import Dict, List, Optional
from pydantic import BaseModel
class CodeBlockResult(BaseModel):
    stdout: str = ""
    locals_snapshot: Dict[str, str] = Field(default_factory=dict)
    execution_time: float = Field(default=0.0, ge=0)
    success: bool = True
    exception: Optional[str] = None
""",
        action='code: str = ""\nis_final: bool = False\nfinal_answer: Optional[str] = None',
        observation="""
result: CodeBlockResult = Field(default_factory=CodeBlockResult)
context_preview: Optional[str] = None
context_length: int = Field(default=0, ge=0)
available_variables: List[str] = Field(default_factory=list)
iteration: int = Field(default=0, ge=0)
max_iterations: int = Field(default=30, ge=1)
""",
        state="context: Optional[str] = None\niteration: int = Field(default=0, ge=0)",
        head="""
from openenv.core.rubrics.base import Rubric
class Outcome(Rubric):
    def forward(self, action, observation): return 1.0 if observation.done else 0.0
class REPLRubric(Rubric):
    def __init__(self):
        super().__init__()
        self.outcome = Outcome()
    def forward(self, action, observation): return self.outcome(action, observation)
""",
        made_with="rubric=REPLRubric()",
        is_concurrent=True,
        makes="function",
        before='print("[REPL Server] No server HF_TOKEN configured")',
        options=", max_concurrent_envs=8, gradio_builder=None",
        reset=", seed=None, episode_id=None, context='', task_prompt='', hf_token=None, **kwargs",
    ),
    Published(
        "snake_env",
        "Snake",
        models="from typing import List",
        action="action: int\ndef __post_init__(self): self.action = int(self.action)",
        observation="""
grid: List[List[int]]
observation: List[List[List[float]]]
episode_score: float = 0.0
episode_steps: int = 0
alive: bool = True
""",
        values="grid=[[0, 1], [2, 0]], observation=[[[0.0, 1.0]]]",
        reset=", seed=None",
    ),
    Published(
        "sumo_rl_env",
        "Sumo",
        models="from typing import Dict, List, Optional",
        imports="",
        action='phase_id: int\nts_id: str = "0"',
        observation="""
observation: List[float] = Field(default_factory=list)
observation_shape: List[int] = Field(default_factory=list)
action_mask: List[int] = Field(default_factory=list)
sim_time: float = 0.0
done: bool = False
reward: Optional[float] = None
metadata: Dict = Field(default_factory=dict)
""",
        state='episode_id: str = ""\nstep_count: int = 0\nnet_file: str = ""\ndelta_time: int = 5',
        values="observation=[1.0, 0.0], observation_shape=[2], action_mask=[0, 1]",
        has_manifest=False,
        makes="function",
        reset="",
    ),
    Published(
        "tbench2_env",
        "Tbench2",
        action="""
action_type: str = Field(default="exec")
command: str = Field(default="")
session_id: str | None = Field(default=None)
block: bool = Field(default=True)
wait_seconds: float | None = Field(default=None)
""",
        observation="""
instruction: str = Field(default="")
output: str = Field(default="")
success: bool = Field(default=True)
session_id: str | None = Field(default=None)
info: dict = Field(default_factory=dict)
""",
        state='task_id: str = Field(default="")\nterminal_ready: bool = Field(default=False)',
        values='instruction="Fix it", info={"tests": 1}',
        bases="[Tbench2Action, Tbench2Observation, Tbench2State]",
        step=", timeout_s: float | None = None, **kwargs",
        is_concurrent=True,
        options=", max_concurrent_envs=8, title_override='Terminal-Bench 2'",
        title="tbench2_env (local mode)",
    ),
    Published(
        "terminus_env",
        "Terminus",
        models="from __future__ import annotations",
        state="sandbox_id: str | None = None\nverify_commands: list[str] = Field(default_factory=list)",
        tools='terminal(command: str = "", final_answer: str = "") -> str: return command or final_answer',
        options=", gradio_builder=None",
    ),
    Published(
        "textarena_env",
        "TextArena",
        models="""
from __future__ import annotations
from typing import Dict, List, Optional
from pydantic import BaseModel
class TextArenaMessage(BaseModel):
    sender_id: int
    content: str
    category: str
""",
        action="message: str",
        observation="""
prompt: str
messages: List[TextArenaMessage] = Field(default_factory=list)
current_player_id: int = 0
legal_players: List[int] = Field(default_factory=list)
info: Dict[str, Any] = Field(default_factory=dict)
""",
        state="env_id: str = 'Wordle-v0'\nnum_players: int = 1\nlast_info: Dict[str, Any] = {}",
        values='prompt="Guess", messages=[{"sender_id": -1, "content": "[GAME]", "category": "PROMPT"}]',
        layout="package",
        is_concurrent=True,
        makes="function",
        options=", gradio_builder=None, custom_tab_name='Play', show_default_tab=True",
    ),
    Published(
        "unity_env",
        "Unity",
        models="from typing import Dict, List, Optional",
        action="""
discrete_actions: Optional[List[int]] = None
continuous_actions: Optional[List[float]] = None
""",
        observation="""
vector_observations: List[float] = Field(default_factory=list)
visual_observations: Optional[List[str]] = None
behavior_name: str = ""
action_spec_info: Dict[str, Any] = Field(default_factory=dict)
""",
        state='env_id: str = "PushBlock"\navailable_envs: List[str] = Field(default_factory=list)',
        values='vector_observations=[0.0] * 5, action_spec_info={"discrete_size": 1}',
        body="SUPPORTS_CONCURRENT_SESSIONS = False",
        reset=", env_id=None, seed=None, include_visual: bool = False, **kwargs",
    ),
    Published(
        "websearch_env",
        "WebSearch",
        models="""
from __future__ import annotations
from pydantic import BaseModel
class WebContent(BaseModel):
    title: str = Field(..., description="The title")
    url: str = Field(..., description="The URL")
""",
        action="query: str = Field(..., description='The query')\n"
        "temp_api_key: str | None = Field(None, description='A key')",
        observation="content: str = Field(...)\nweb_contents: list[WebContent] = Field(...)",
        values='content="none", web_contents=[{"title": "t", "url": "http://127.0.0.1/"}]',
        layout="flat",
        reset="",
    ),
    Published(
        "wildfire_env",
        "Wildfire",
        models="from typing import List, Optional",
        imports="interfaces",
        action="action: str\nx: Optional[int] = None\ny: Optional[int] = None",
        observation="""
grid: List[int]
width: int
height: int
step: int
wind_dir: str
humidity: float
reward_hint: float = 0.0
""",
        state='episode_id: str = ""\nstep_count: int = 0\nlast_action: str = "reset"\n'
        "grid: List[int] = Field(default_factory=list)",
        values='grid=[1, 1, 2, 1], width=2, height=2, step=0, wind_dir="N", humidity=0.25',
        body="def act(self, action): return WildfireObservation.model_construct(grid=[1, 1, 2, 3], width=2,"
        " height=2, step=1, wind_dir='N', humidity=0.25)",
        layout="relative",
        makes="function",
        before="from openenv.core.env_server.web_interface import load_environment_metadata",
        after="metadata = load_environment_metadata(make_environment(), 'wildfire_env')",
        reset="",
    ),
)
