#include <CLI/CLI.hpp>

#include "broker/config/server_settings.h"

namespace millrace::broker::config {

void ServerFlags::AddTo(CLI::App& command) {
  for (const ServerSetting& setting : ServerSettingTable()) {
    const std::string name(setting.name);
    const std::string flag = FlagOf(setting);
    const std::string doc(setting.doc);
    if (setting.kind == Kind::kSwitch) {
      options_[name] = command.add_flag(flag, texts_[name], doc);
      continue;
    }
    CLI::Option* option = command.add_option(flag, texts_[name], doc);
    option->type_name(std::string(setting.value_name));
    option->default_str(std::string(setting.default_text));
    options_[name] = option;
  }
}

Texts ServerFlags::given() const {
  Texts given;
  for (const auto& [name, option] : options_) {
    if (option->count() > 0) given.emplace(name, texts_.find(name)->second);
  }
  return given;
}

}  // namespace millrace::broker::config
