#include "client/cli/completion_command.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

constexpr char kShells[] = "bash zsh fish";
constexpr char kCompletion[] = "completion";

// "--output" and "-o", as they are typed; positional arguments have none.
std::vector<std::string> NamesOf(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

// The words that an option takes for its value, as its own check (CLI::IsMember) lists them:
// "{table,json}"; those of --from, which takes others too. Empty if it takes anything.
std::string ValuesOf(const CLI::Option& option) {
  if (option.check_lname("from")) return "earliest latest";
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{');
  const size_t end = type.rfind('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  std::string words = type.substr(begin + 1, end - begin - 1);
  std::replace(words.begin(), words.end(), ',', ' ');
  return words;
}

std::string Words(const CLI::App& app) {
  std::string words;
  for (const CLI::App* command : Subcommands(app)) words += command->get_name() + " ";
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : NamesOf(*option)) words += name + " ";
  }
  if (app.get_name() == kCompletion) words += kShells;
  return words;
}

// A line of the shell's `case` for each command: what may follow it; and for each of its options
// whose values are a few words.
void AddCases(const CLI::App& app, const std::string& path, std::string* script) {
  *script += "    \"" + path + "\") choices=\"" + Words(app) + "\" ;;\n";
  for (const CLI::Option* option : app.get_options()) {
    const std::string values = ValuesOf(*option);
    if (values.empty()) continue;
    for (const std::string& name : NamesOf(*option)) {
      *script += "    \"" + path + " " + name + "\") choices=\"" + values + "\" ;;\n";
    }
  }
  for (const CLI::App* command : Subcommands(app)) {
    AddCases(*command, path + " " + command->get_name(), script);
  }
}

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("\\'") : std::string(1, c);
  return quoted + "'";
}

// That the words typed so far are exactly these commands, in fish.
std::string FishCondition(const std::vector<std::string>& path, const CLI::App& app) {
  if (path.empty()) return "__fish_use_subcommand";
  std::string condition;
  for (const std::string& name : path) {
    condition += (condition.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + name);
  }
  std::string deeper;
  for (const CLI::App* command : Subcommands(app)) deeper += " " + command->get_name();
  if (!deeper.empty()) condition += "; and not __fish_seen_subcommand_from" + deeper;
  return condition;
}

// That an option takes a value, and which ones there are, in fish.
std::string FishValue(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  const std::string values = ValuesOf(option);
  return values.empty() ? " -r" : " -x -a '" + values + "'";
}

void AddFishLines(const CLI::App& app, const std::vector<std::string>& path, std::string* script) {
  const std::string head = "complete -c millrace -n " + Quoted(FishCondition(path, app));
  for (const CLI::App* command : Subcommands(app)) {
    *script +=
        head + " -f -a " + command->get_name() + " -d " + Quoted(command->get_description()) + "\n";
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_snames().empty() && option->get_lnames().empty()) continue;
    *script += head;
    for (const std::string& name : option->get_snames()) *script += " -s " + name;
    for (const std::string& name : option->get_lnames()) *script += " -l " + name;
    *script += FishValue(*option) + " -d " + Quoted(option->get_description()) + "\n";
  }
  if (app.get_name() == kCompletion) *script += head + " -f -a '" + kShells + "'\n";
  for (const CLI::App* command : Subcommands(app)) {
    std::vector<std::string> deeper = path;
    deeper.push_back(command->get_name());
    AddFishLines(*command, deeper, script);
  }
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  std::string cases;
  AddCases(app, "millrace", &cases);
  // The route is the command and those of the words after it that name a command below it. (zsh has
  // meanings of its own for "path" and "words".)
  return "# Completion of millrace for bash: source <(millrace completion bash)\n"
         "_millrace_choices() {\n"
         "  case \"$1\" in\n" +
         cases +
         "    *) return 1 ;;\n"
         "  esac\n"
         "}\n"
         "_millrace() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
         "  local route=millrace choices=\"\" i\n"
         "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
         "    _millrace_choices \"$route ${COMP_WORDS[i]}\" && route=\"$route ${COMP_WORDS[i]}\"\n"
         "  done\n"
         "  _millrace_choices \"$route $previous\" || _millrace_choices \"$route\"\n"
         "  COMPREPLY=($(compgen -W \"$choices\" -- \"$current\"))\n"
         "}\n"
         "complete -o default -F _millrace millrace\n";
}

std::string ZshCompletion(const CLI::App& app) {
  return "# Completion of millrace for zsh: source <(millrace completion zsh)\n"
         "autoload -U +X compinit && compinit\n"
         "autoload -U +X bashcompinit && bashcompinit\n" +
         BashCompletion(app);
}

std::string FishCompletion(const CLI::App& app) {
  std::string script = "# Completion of millrace for fish: millrace completion fish | source\n";
  AddFishLines(app, {}, &script);
  return script;
}

void AddCompletionCommand(CLI::App& app, Command* chosen) {
  CLI::App* completion =
      app.add_subcommand(kCompletion, "Print a script that completes this command line");
  auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&app, chosen, shell] {
    *chosen = [&app, shell] {
      const std::string script = *shell == "fish"  ? FishCompletion(app)
                                 : *shell == "zsh" ? ZshCompletion(app)
                                                   : BashCompletion(app);
      std::fputs(script.c_str(), stdout);
      return kExitDone;
    };
  });
}

}  // namespace millrace::client::cli
