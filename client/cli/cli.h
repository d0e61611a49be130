// The `millrace` command: everything but `server` and `inspect`, which broker/main.cc adds, so that
// a client needs no broker and the binary has one command line.
//
// Called once, on main's thread.
//
//   return millrace::client::cli::Run(argc, argv, [](CLI::App& app, Command* chosen) {
//     CLI::App* server = app.add_subcommand("server", "Run a broker");
//     server->callback([=] { *chosen = [] { return RunServer(); }; });
//   });
#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>

namespace millrace::client::cli {

// What the command line chose, to run once it is parsed; the process's exit code.
using Command = std::function<int()>;
// Adds subcommands whose callbacks set the command.
using AddCommands = std::function<void(CLI::App& app, Command* chosen)>;

// Parses the command line and runs what it says; the exit code, as output.h has them. A failure is
// one line on stderr, and so is an output that stdout did not take.
int Run(int argc, char** argv, const AddCommands& add_commands = {});

// Adds everything but `server` and `inspect`. `bootstrap` is where brokers are unless --bootstrap
// says otherwise.
void AddClientCommands(CLI::App& app, const std::string& bootstrap, Command* chosen);

}  // namespace millrace::client::cli
