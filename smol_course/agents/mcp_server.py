"""The calendar's tools over MCP, the Model Context Protocol, by standard input and output.

    python -m smol_course.agents.mcp_server my_week.db

Any MCP client can start this command and then list and call the tools. Standard output belongs to the protocol, so
nothing here may print. The calls go through the same guard as an agent's own, one guard for each connection.
"""

import argparse
from typing import Any

from smol_course.agents.calendar import Calendar
from smol_course.agents.tools import Function, Guard, Toolbox, observed, schema_of, summary_of


def server_of(functions: list[Function], guard: Guard) -> Any:
    """Return an MCP server with these functions as its tools."""
    from mcp.server.lowlevel import Server
    from mcp.types import TextContent
    from mcp.types import Tool as Described

    server: Any = Server("calendar")
    known = {function.__name__: function for function in functions}

    @server.list_tools()
    async def list_tools() -> list[Any]:
        return [
            Described(name=name, description=summary_of(function), inputSchema=schema_of(function))
            for name, function in known.items()
        ]

    @server.call_tool(validate_input=False)  # the guard does it, and says it in fewer words
    async def call_tool(name: str, arguments: dict[str, Any]) -> list[Any]:
        if name not in known:
            raise ValueError(f"there is no tool {name}")
        return [TextContent(type="text", text=observed(guard, known[name], arguments))]

    return server


async def serve(path: str) -> None:
    """Serve a calendar's tools on standard input and output until the client leaves."""
    from mcp.server.stdio import stdio_server

    # A client of MCP may ask the same thing all day, so repeats and changes are not counted here.
    guard = Guard(most_changes=None, most_repeats=None)
    server = server_of(Toolbox(Calendar(path)).functions(), guard)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def main() -> None:
    """Read the calendar's file from the command line, and serve it."""
    import anyio

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calendar", help="the SQLite file of the week; made if it is not there")
    anyio.run(serve, parser.parse_args().calendar)


if __name__ == "__main__":
    main()
