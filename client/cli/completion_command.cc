#include "client/cli/completion_command.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

constexpr char kShells[] = "bash zsh fish";
constexpr char kCompletion[] = "completion";
constexpr char kHelp[] = "help";
// Among words to choose from: the names of the cluster's topics, and groups, and transactional ids.
constexpr char kTopics[] = "@topics";
constexpr char kGroups[] = "@groups";
constexpr char kTransactions[] = "@transactions";

// "--output" and "-o", as they are typed; positional arguments have none.
std::vector<std::string> NamesOf(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

// The words that an option takes for its value, as its own check (CLI::IsMember) lists them:
// "{table,json}"; those of --from and --to, which take others too. Empty if it takes anything.
std::string ValuesOf(const CLI::Option& option) {
  if (option.check_lname("from")) return "earliest latest";
  // That of `group reset` has a type of its own, as it takes more.
  if (option.check_lname("to")) {
    return option.get_type_name() == "TARGET" ? "earliest latest" : "latest";
  }
  if (option.check_lname("topic")) return kTopics;
  if (option.check_lname("group")) return kGroups;
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{');
  const size_t end = type.rfind('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  std::string words = type.substr(begin + 1, end - begin - 1);
  std::replace(words.begin(), words.end(), ',', ' ');
  return words;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

// What a command's first argument may be, where that is known.
std::string FirstArgumentOf(const CLI::App& app) {
  if (app.get_name() == kCompletion) return kShells;
  if (app.get_name() == kHelp) return Joined(CommandsOf(*app.get_parent()));
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = option->get_name(true);
    return name == "TOPIC"   ? kTopics
           : name == "GROUP" ? kGroups
           : name == "ID"    ? kTransactions
                             : "";
  }
  return "";
}

std::vector<std::string> NamesOfOptionsWithValue(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) continue;
    for (const std::string& name : NamesOf(*option)) names.push_back(name);
  }
  return names;
}

void AddCase(const std::string& route, const std::string& choices, const std::string& first,
             std::string* script) {
  *script += "    \"" + route + "\") choices=\"" + choices + "\"";
  if (!first.empty()) *script += " first=\"" + first + "\"";
  *script += " ;;\n";
}

// A line of the shell's `case` for each command: what may follow it, and what only as its first
// argument; and for each of its options that take a value, and which values, if they are few.
void AddCases(const CLI::App& app, const std::string& path, std::string* script) {
  std::vector<std::string> words = CommandsOf(app);
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : NamesOf(*option)) {
      words.push_back(name);
      if (option->get_items_expected_max() == 0) continue;
      std::string option_path = path;
      option_path.append(" ").append(name);
      AddCase(option_path, ValuesOf(*option), "", script);
    }
  }
  AddCase(path, Joined(words), FirstArgumentOf(app), script);
  for (const CLI::App* command : Subcommands(app)) {
    AddCases(*command, path + " " + command->get_name(), script);
  }
}

// What follows `help`: commands alone.
void AddHelpCases(const CLI::App& app, const std::string& path, std::string* script) {
  for (const CLI::App* command : Subcommands(app)) {
    const std::string route = path + " " + command->get_name();
    AddCase(route, "", Joined(CommandsOf(*command)), script);
    AddHelpCases(*command, route, script);
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

std::string FishWords(const std::string& words) {
  if (words == kTopics) return "(__millrace_names topic)";
  if (words == kTransactions) return "(__millrace_names transaction)";
  return words == kGroups ? "(__millrace_names group)" : words;
}

// That an option takes a value, and which ones there are, in fish.
std::string FishValue(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  const std::string values = ValuesOf(option);
  return values.empty() ? " -r" : " -x -a '" + FishWords(values) + "'";
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
  if (const std::string first = FirstArgumentOf(app); !first.empty()) {
    const std::string awaits = "; and __millrace_awaits_first " + std::to_string(path.size() + 1) +
                               " " + Joined(NamesOfOptionsWithValue(app));
    *script += "complete -c millrace -n " + Quoted(FishCondition(path, app) + awaits) + " -f -a '" +
               FishWords(first) + "'\n";
  }
  for (const CLI::App* command : Subcommands(app)) {
    std::vector<std::string> deeper = path;
    deeper.push_back(command->get_name());
    AddFishLines(*command, deeper, script);
  }
}

// How a shell asks for the names of topics or groups, or transactional ids, behind which of them:
// bounded in time, and silent whatever happens.
constexpr char kListNames[] = "list -o name --timeout 500ms";

// The route is the command and those of the words after it that name a command below it. (zsh has
// meanings of its own for "path" and "words".) Nothing that a cluster answers is evaluated, as
// compgen -W would.
constexpr char kBashFunctions[] = R"(_millrace_names() {
  local -a at
  at=()
  [[ -n $2 ]] && at=(--bootstrap "$2")
  "${COMP_WORDS[0]}" "$1" LIST "${at[@]}" 2>/dev/null </dev/null
}
_millrace() {
  local route=millrace option="" bootstrap="" choices="" first="" arguments=0 i word glue=""
  local -a line
  line=()
  for ((i = 0; i <= COMP_CWORD; ++i)); do  # bash takes HOST:PORT and --NAME=VALUE apart
    word="${COMP_WORDS[i]}"
    if [[ -n $glue || $word == ":" || $word == "=" ]] && ((i > 0)); then
      line[${#line[@]}-1]="${line[${#line[@]}-1]}$word"
    else
      line[${#line[@]}]="$word"
    fi
    glue=""
    [[ $word == ":" || $word == "=" ]] && glue=yes
  done
  for ((i = 1; i < ${#line[@]} - 1; ++i)); do
    word="${line[i]}"
    if [[ -n $option ]]; then
      [[ $option == --bootstrap ]] && bootstrap="$word"
      option=""
    elif [[ $word == --*=* ]]; then
      [[ $word == --bootstrap=* ]] && bootstrap="${word#*=}"
    elif [[ $word == -* ]]; then
      _millrace_choices "$route $word" && option="$word"
    elif ((arguments == 0)) && _millrace_choices "$route $word"; then
      route="$route $word"
    else
      ((++arguments))
    fi
  done
  local current="${line[${#line[@]}-1]}"
  if [[ -z $option && $current == --*=* ]]; then
    option="${current%%=*}"
    current="${current#*=}"
  fi
  if [[ -n $option ]]; then
    _millrace_choices "$route $option" || choices=""
  else
    _millrace_choices "$route"
    if ((arguments > 0)); then first=""; fi
    [[ $current == -* ]] || choices="$choices $first"
    # No file is meant then.
    [[ -n $first ]] && type compopt >/dev/null 2>&1 && compopt +o default 2>/dev/null
  fi
  case " $choices " in
    *" TOPICS "*) choices="${choices/TOPICS/$(_millrace_names topic "$bootstrap")}" ;;
    *" GROUPS "*) choices="${choices/GROUPS/$(_millrace_names group "$bootstrap")}" ;;
    *" IDS "*) choices="${choices/IDS/$(_millrace_names transaction "$bootstrap")}" ;;
  esac
  COMPREPLY=()
  for word in $choices; do
    [[ $word == "$current"* ]] && COMPREPLY[${#COMPREPLY[@]}]="$word"
  done
}
complete -o default -F _millrace millrace
)";

// __millrace_awaits_first: whether so many words stand before the one that is completed, without
// options and the values of those that are named.
constexpr char kFishFunctions[] = R"(function __millrace_names
  set -l line (commandline -opc)
  set -l at
  for i in (seq (count $line))
    if string match -q -- '--bootstrap=*' $line[$i]
      set at $line[$i]
    else if test "$line[$i]" = --bootstrap; and test $i -lt (count $line)
      set at --bootstrap $line[(math $i + 1)]
    end
  end
  command $line[1] $argv[1] LIST $at 2>/dev/null </dev/null
end
function __millrace_awaits_first
  set -l count 0
  set -l is_value no
  for word in (commandline -opc)
    if test $is_value = yes
      set is_value no
    else if contains -- $word $argv[2..]
      set is_value yes
    else if not string match -q -- '-*' $word
      set count (math $count + 1)
    end
  end
  test $count -eq $argv[1]
end
)";

std::string Replaced(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

std::string BashFunctions() {
  std::string functions = Replaced(kBashFunctions, "LIST", kListNames);
  functions = Replaced(functions, "TOPICS", kTopics);
  functions = Replaced(functions, "GROUPS", kGroups);
  return Replaced(functions, "IDS", kTransactions);
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  std::string cases;
  AddCases(app, "millrace", &cases);
  AddHelpCases(app, std::string("millrace ") + kHelp, &cases);
  return "# Completion of millrace for bash: source <(millrace completion bash)\n"
         "_millrace_choices() {\n"
         "  first=\"\"\n"
         "  case \"$1\" in\n" +
         cases +
         "    *) return 1 ;;\n"
         "  esac\n"
         "}\n" +
         BashFunctions();
}

std::string ZshCompletion(const CLI::App& app) {
  return "# Completion of millrace for zsh: source <(millrace completion zsh)\n"
         "autoload -U +X compinit && compinit\n"
         "autoload -U +X bashcompinit && bashcompinit\n" +
         BashCompletion(app);
}

std::string FishCompletion(const CLI::App& app) {
  std::string script = "# Completion of millrace for fish: millrace completion fish | source\n" +
                       Replaced(kFishFunctions, "LIST", kListNames);
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
