#include "broker/config/settings_page.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace millrace::broker::config {
namespace {

constexpr char kPage[] = MILLRACE_SOURCE_DIR "/docs/settings.md";

TEST(SettingsPageTest, TheCommittedPage_SaysWhatTheTablesSay) {
  if (std::getenv("REWRITE") != nullptr) std::ofstream(kPage) << SettingsPage();
  std::ostringstream committed;
  committed << std::ifstream(kPage).rdbuf();
  EXPECT_EQ(committed.str(), SettingsPage())
      << "rerun with REWRITE=1 to write docs/settings.md, and review the difference";
}

}  // namespace
}  // namespace millrace::broker::config
