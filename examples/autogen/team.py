"""A team of two: a concierge that lives in Sid and remembers its guest, and a cook on any model, who remembers nothing.

    python team.py "Plan my lunch."

The concierge is a model to AutoGen, as any other: Sid's OpenAI door. It keeps what matters of the guest, so the next run of this program, days later
and in a conversation of its own, knows it.
"""
import asyncio
import os
import sys
import uuid

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_agentchat.ui import Console
from autogen_core.models import ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

# Sid takes a request's new messages and ignores its tools: the functions of a Sid agent are its own.
TEXT_ONLY = ModelInfo(vision=False, function_calling=False, json_output=False, structured_output=False, family="unknown")


def concierge(conversation: str) -> AssistantAgent:
    """The agent `concierge` of Sid, for the guest whose key this is."""
    model = OpenAIChatCompletionClient(
        model="concierge",
        base_url=os.environ["SID_URL"] + "/v1",
        api_key=os.environ["SID_KEY"],
        model_info=TEXT_ONLY,
        default_headers={"X-Sid-Conversation": conversation},
    )
    # Without a system message: its instructions are in Sid.
    return AssistantAgent("concierge", model, description="Knows the guest.", system_message=None)


def cook() -> AssistantAgent:
    model = OpenAIChatCompletionClient(
        model=os.environ.get("COOK_MODEL", "cook"),
        base_url=os.environ["COOK_URL"],
        api_key=os.environ.get("COOK_KEY", "none"),
        model_info=TEXT_ONLY,
    )
    return AssistantAgent("cook", model, description="Cooks.", system_message="You are a cook. Make one dish of what the concierge tells you of the guest.")


async def main(task: str) -> None:
    # A conversation for each run, so that nothing is known from the last one but what the concierge remembers.
    team = RoundRobinGroupChat([concierge(f"team-{uuid.uuid4().hex}"), cook()], termination_condition=MaxMessageTermination(4))
    # The guest, the concierge, the cook, and the concierge again.
    await Console(team.run_stream(task=task))


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "Plan my lunch."))
