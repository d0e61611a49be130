#include "broker/config/server_settings.h"

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

ServerConfig Load(const Texts& flags, const Texts& environment = {}) {
  Result<ServerConfig> config = LoadServerConfig(flags, environment);
  CHECK(config.ok()) << config.status();
  return *config;
}

std::string ErrorOf(const Texts& flags, const Texts& environment = {}) {
  const Result<ServerConfig> config = LoadServerConfig(flags, environment);
  EXPECT_FALSE(config.ok());
  EXPECT_EQ(config.status().code(), Code::kInvalidArgument);
  return std::string(config.status().message());
}

// What `millrace server ARGUMENTS` gives.
Texts Parse(std::vector<std::string> arguments) {
  CLI::App app;
  ServerFlags flags;
  flags.AddTo(app);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return flags.given();
}

TEST(ServerSettingsTest, NothingGiven_IsASingleBrokerOnLoopback) {
  const ServerConfig config = Load({});
  EXPECT_EQ(config.broker_id, BrokerId(1));
  EXPECT_EQ(config.cluster_name, "millrace");
  EXPECT_EQ(config.data_dir, "./millrace-data");
  EXPECT_EQ(config.listen.ToString(), "127.0.0.1:7440");
  EXPECT_EQ(config.internal_listen.ToString(), "127.0.0.1:7441");
  EXPECT_EQ(config.advertise, config.listen);
  ASSERT_EQ(config.controllers.size(), 1u);
  EXPECT_EQ(config.controllers[0].id, BrokerId(1));
  EXPECT_EQ(config.election_timeout, std::chrono::milliseconds(300));
  EXPECT_EQ(config.message_bytes_max, 4u << 20);
}

TEST(ServerSettingsTest, Reflection_IsOnOrOff) {
  EXPECT_TRUE(Load({}).has_reflection);
  EXPECT_FALSE(Load(Parse({"--reflection", "off"})).has_reflection);
  EXPECT_THAT(ErrorOf({{"reflection", "no"}}),
              AllOf(HasSubstr("--reflection"), HasSubstr("\"no\"")));
}

TEST(ServerSettingsTest, StreamsPerConnection_AreNeverFewerThanAClientTakesForGranted) {
  EXPECT_EQ(Load({}).streams_per_connection_max, 1'000u);
  EXPECT_EQ(Load({{"streams_per_connection_max", "100"}}).streams_per_connection_max, 100u);
  EXPECT_THAT(ErrorOf({{"streams_per_connection_max", "99"}}),
              HasSubstr("--streams-per-connection-max"));
}

TEST(ServerSettingsTest, Flags_DescribeAMemberOfACluster) {
  const ServerConfig config =
      Load(Parse({"--broker-id", "2", "--cluster", "demo", "--data-dir", "/d", "--listen",
                  "0.0.0.0:17440", "--internal-listen", "0.0.0.0:17441", "--controllers",
                  "3@c:7441,1@a:7441,2@b:7441", "--advertise", "b.example:17440", "--insecure"}));
  EXPECT_EQ(config.broker_id, BrokerId(2));
  EXPECT_EQ(config.cluster_name, "demo");
  EXPECT_EQ(config.advertise.ToString(), "b.example:17440");
  EXPECT_TRUE(config.is_insecure);
  ASSERT_EQ(config.controllers.size(), 3u);
  EXPECT_EQ(config.controllers[0].address.ToString(), "a:7441");
  EXPECT_EQ(config.controllers[2].id, BrokerId(3));
}

TEST(ServerSettingsTest, AFlag_GoesBeforeItsVariable_AndAVariableBeforeTheDefault) {
  const Texts environment{{"MILLRACE_CLUSTER", "from-variable"},
                          {"MILLRACE_SEGMENT_BYTES", "1MiB"}};
  EXPECT_EQ(Load({}, environment).cluster_name, "from-variable");
  EXPECT_EQ(Load({{"cluster", "from-flag"}}, environment).cluster_name, "from-flag");
  EXPECT_EQ(Load({}, environment).segment_bytes, 1u << 20);
  EXPECT_EQ(Load({}, {{"MILLRACE_CLUSTER", ""}}).cluster_name, "millrace");
}

TEST(ServerSettingsTest, AVariable_CanSwitchOn) {
  const Texts flags{{"listen", "0.0.0.0:7440"}, {"advertise", "h:1"}};
  EXPECT_TRUE(Load(flags, {{"MILLRACE_INSECURE", "true"}}).is_insecure);
  EXPECT_THAT(ErrorOf(flags, {{"MILLRACE_INSECURE", "maybe"}}),
              AllOf(StartsWith("MILLRACE_INSECURE"), HasSubstr("\"maybe\"")));
}

TEST(ServerSettingsTest, AListenerOutsideLoopback_IsRefused_UnlessInsecure) {
  EXPECT_THAT(ErrorOf({{"listen", "0.0.0.0:7440"}, {"advertise", "h:1"}}),
              AllOf(StartsWith("--listen:"), HasSubstr("--insecure")));
  EXPECT_THAT(ErrorOf({{"internal_listen", "192.0.2.1:7441"}}),
              AllOf(StartsWith("--internal-listen:"), HasSubstr("--insecure")));
  EXPECT_THAT(ErrorOf({{"listen", "127.example.org:7440"}}), StartsWith("--listen:"));
  EXPECT_TRUE(Load({{"listen", "[::1]:7440"}}).listen.IsLoopback());
}

TEST(ServerSettingsTest, LogLevels_AreReadByName) {
  EXPECT_EQ(Load({}).log_level, LogLevel::kInfo);
  EXPECT_EQ(Load({{"log_level", "warning"}}).log_level, LogLevel::kWarning);
  EXPECT_EQ(Load({{"log_level", "error"}}).log_level, LogLevel::kError);
  EXPECT_THAT(ErrorOf({{"log_level", "WARN"}}),
              AllOf(StartsWith("--log-level:"), HasSubstr("info, warning or error")));
}

TEST(ServerSettingsTest, AWildcardListener_NeedsAnAdvertisedAddress) {
  EXPECT_THAT(ErrorOf({{"listen", "0.0.0.0:7440"}, {"insecure", "true"}}),
              AllOf(StartsWith("--advertise:"), HasSubstr("0.0.0.0:7440")));
}

TEST(ServerSettingsTest, ABrokerOutsideTheControllers_IsRefused) {
  EXPECT_THAT(ErrorOf({{"broker_id", "4"}, {"controllers", "1@a:1,2@b:1,3@c:1"}}),
              AllOf(StartsWith("--broker-id: 4"), HasSubstr("until clusters can grow")));
}

TEST(ServerSettingsTest, AnEvenNumberOfControllers_IsRefused_SayingWhy) {
  EXPECT_THAT(ErrorOf({{"controllers", "1@a:1,2@b:1"}}),
              AllOf(StartsWith("--controllers: names 2 brokers"), HasSubstr("one, three or five"),
                    HasSubstr("with 2 the loss of 1 stops it, just as with 1")));
  EXPECT_THAT(ErrorOf({{"controllers", "1@a:1,2@b:1,3@c:1,4@d:1"}}),
              AllOf(StartsWith("--controllers: names 4 brokers"),
                    HasSubstr("with 4 the loss of 2 stops it, just as with 3")));
  EXPECT_THAT(ErrorOf({{"controllers", "1@a:1,2@b:1,3@c:1,4@d:1,5@e:1,6@f:1,7@g:1"}}),
              StartsWith("--controllers: names 7 brokers; a cluster has one, three or five"));
  EXPECT_EQ(Load({{"controllers", "1@a:1,2@b:1,3@c:1,4@d:1,5@e:1"}}).controllers.size(), 5u);
}

TEST(ServerSettingsTest, MalformedControllers_AreRefused_NamingTheItem) {
  const std::vector<std::pair<std::string, std::string>> kCases{
      {"1@a:1,1@b:1", "broker id 1 stands there twice"},
      {"1@a:1,2@a:1", "address a:1 stands there twice"},
      {"1@a:1,b:1", "\"b:1\" is not ID@HOST:PORT"},
      {"1@a:1,", "\"\" is not ID@HOST:PORT"},
      {"0@a:1", "\"0\" is not between"},
      {"x@a:1", "\"x\" is not a whole number"},
      {"1@a", "no colon"},
      {"1@a:0", "has port 0"},
      {"1@a:70000", "port"},
  };
  for (const auto& [text, why] : kCases) {
    EXPECT_THAT(ErrorOf({{"controllers", text}}),
                AllOf(StartsWith("--controllers:"), HasSubstr(why)))
        << text;
  }
}

TEST(ServerSettingsTest, MalformedValues_AreRefused_NamingTheFlag) {
  const std::vector<std::pair<std::string, std::string>> kCases{
      {"broker_id", "0"},
      {"broker_id", "one"},
      {"listen", "7440"},
      {"listen", "::1:7440"},
      {"listen", "127.0.0.1:0"},
      {"cluster", ""},
      {"cluster", "a b"},
      {"cluster", std::string(65, 'x')},
      {"data_dir", ""},
      {"election_timeout", "99ms"},
      {"election_timeout", "2m"},
      {"segment_bytes", "1"},
      {"insecure", "2"},
      {"advertise", "x"},
      {"message_bytes_max", "1KiB"},
  };
  for (const auto& [name, text] : kCases) {
    std::string flag = "--" + name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    EXPECT_THAT(ErrorOf({{name, text}}), StartsWith(flag + ":")) << text;
  }
}

TEST(ServerSettingsTest, BothListenersOnOneAddress_AreRefused) {
  EXPECT_THAT(ErrorOf({{"internal_listen", "127.0.0.1:7440"}}), HasSubstr("are both"));
}

TEST(ServerSettingsTest, TuningThatContradictsItself_IsRefused) {
  EXPECT_THAT(ErrorOf({{"heartbeat_interval", "200ms"}}), StartsWith("--heartbeat-interval"));
  EXPECT_THAT(ErrorOf({{"journal_file_bytes", "1GiB"}}), StartsWith("--journal-bytes-max"));
  EXPECT_THAT(ErrorOf({{"journal_file_bytes", "1025KiB"}}), StartsWith("--journal-file-bytes"));
}

TEST(ServerSettingsTest, AnEmptyFlag_IsNotTakenForAnAbsentOne) {
  EXPECT_THAT(ErrorOf(Parse({"--cluster", ""})), StartsWith("--cluster: the value is empty"));
}

TEST(ServerSettingsTest, EveryDefault_IsAValueThatTheSettingTakes) {
  for (const ServerSetting& setting : ServerSettingTable()) {
    if (setting.default_text.empty()) continue;
    ServerConfig config;
    const Status status = setting.read(setting, setting.default_text, &config);
    EXPECT_TRUE(status.ok()) << setting.name << ": " << status;
  }
}

}  // namespace
}  // namespace millrace::broker::config
