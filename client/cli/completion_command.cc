#include "client/cli/completion_command.h"

#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

namespace millrace::client::cli {
namespace {

// Options whose values are a few words.
const std::pair<const char*, const char*> kValues[] = {
    {"--compression", "none gzip snappy lz4 zstd"},
    {"--from", "earliest latest"},
    {"--output", "table json value key-value"},
    {"-o", "table json value key-value"},
};
constexpr char kShells[] = "bash zsh fish";
constexpr char kCompletion[] = "completion";

std::vector<const CLI::App*> Subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// "--topic" and "-o", as they are typed; positional arguments have none.
std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string Words(const CLI::App& app) {
  std::string words;
  for (const CLI::App* command : Subcommands(app)) words += command->get_name() + " ";
  for (const std::string& name : OptionNames(app)) words += name + " ";
  if (app.get_name() == kCompletion) words += kShells;
  return words;
}

// A line of the shell's `case` for each command: what may follow it.
void AddCases(const CLI::App& app, const std::string& path, std::string* script) {
  *script += "    \"" + path + "\") choices=\"" + Words(app) + "\" ;;\n";
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
  for (const auto& [name, words] : kValues) {
    if (option.check_name(name)) return " -x -a '" + std::string(words) + "'";
  }
  return " -r";
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
  std::string values;
  for (const auto& [option, words] : kValues) {
    values += std::string("    ") + option + ") choices=\"" + words + "\" ;;\n";
  }
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
         "  _millrace_choices \"$route\"\n"
         "  case \"$previous\" in\n" +
         values +
         "  esac\n"
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
      return std::fputs(script.c_str(), stdout) >= 0 && std::fflush(stdout) == 0 ? 0 : 1;
    };
  });
}

}  // namespace millrace::client::cli
