// docs/settings.md, written from the tables. A test holds the committed page against it.
//
// Pure; any thread.
//
//   std::cout << SettingsPage();
#pragma once

#include <string>

namespace millrace::broker::config {

// The whole page, Markdown.
std::string SettingsPage();

}  // namespace millrace::broker::config
