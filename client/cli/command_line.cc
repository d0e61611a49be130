#include "client/cli/command_line.h"

#include <algorithm>

#include "client/cli/spelling.h"

namespace millrace::client::cli {
namespace {

const CLI::App* FindCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : Subcommands(app)) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

// "--from" of "--from=3", "-o" of "-ojson".
std::string NameOf(const std::string& word) {
  return word.starts_with("--") ? word.substr(0, word.find('=')) : word.substr(0, 2);
}

// Whether an option's value is not in the same word.
bool TakesNextWord(const CLI::Option& option, const std::string& word) {
  return option.get_items_expected_max() > 0 && word == NameOf(word);
}

bool IsOfSomeCommand(const CLI::App& app, const std::string& option) {
  const std::vector<const CLI::App*> commands = Subcommands(app);
  return std::any_of(commands.begin(), commands.end(), [&](const CLI::App* command) {
    return command->get_option_no_throw(option) != nullptr || IsOfSomeCommand(*command, option);
  });
}

std::string NoSuchOption(const CLI::App& app, const std::string& path, const std::string& name) {
  if (IsOfSomeCommand(app, name)) return name + " stands behind the command, not before it";
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& known : option->get_lnames()) names.push_back("--" + known);
  }
  return "there is no option " + name + " of " + path + DidYouMean(name, names);
}

size_t ArgumentsMax(const CLI::App& app) {
  const std::vector<const CLI::Option*> options = app.get_options();
  return static_cast<size_t>(std::count_if(
      options.begin(), options.end(), [](const auto* option) { return option->get_positional(); }));
}

}  // namespace

std::vector<const CLI::App*> Subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> CommandsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : Subcommands(app)) names.push_back(command->get_name());
  return names;
}

std::optional<std::string> FindMistake(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* at = &app;
  std::string path = app.get_name();
  size_t arguments = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") return std::nullopt;  // what follows is no option, whatever it looks like
    if (word.size() > 1 && word.front() == '-') {
      const CLI::Option* option = at->get_option_no_throw(NameOf(word));
      if (option == nullptr) return NoSuchOption(*at, path, NameOf(word));
      if (option == at->get_help_ptr() || option == at->get_version_ptr()) return std::nullopt;
      if (TakesNextWord(*option, word)) ++i;
    } else if (const CLI::App* command = FindCommand(*at, word)) {
      at = command;
      path += " " + word;
    } else if (const std::vector<std::string> names = CommandsOf(*at); !names.empty()) {
      const std::string of = at == &app ? "" : " of " + path;
      return "there is no command " + word + of + DidYouMean(word, names);
    } else if (++arguments > ArgumentsMax(*at)) {
      return "\"" + word + "\" is one argument too many for " + path;
    }
  }
  return std::nullopt;
}

std::string CommandWanted(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  std::string names;
  for (const std::string& name : CommandsOf(*at)) names += (names.empty() ? "" : ", ") + name;
  return "a command is wanted: " + names;
}

}  // namespace millrace::client::cli
