// What CLI11 would tell behind something else, or not at all: the first word of a command line that
// names no command or no option, or is one too many, and what may be meant.
//
// Pure; on main's thread.
//
//   const std::optional<std::string> mistake = FindMistake(app, {"consume", "t", "--form", "3"});
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace millrace::client::cli {

// Directly below `app`, in the order in which they were added; their names.
std::vector<const CLI::App*> Subcommands(const CLI::App& app);
std::vector<std::string> CommandsOf(const CLI::App& app);

// What is wrong with the first word that `app` does not know; absent if it knows them all, or is
// asked for help before. Whether values fit is not looked at.
std::optional<std::string> FindMistake(const CLI::App& app, const std::vector<std::string>& words);

// That the line ends where a command is wanted; names those that there are.
std::string CommandWanted(const CLI::App& app);

}  // namespace millrace::client::cli
