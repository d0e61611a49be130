// Partitions as people write them behind a topic's name: "flights", "flights:0", "flights:0,3-5".
//
// Pure, but for the option that is added; on main's thread.
//
//   RETURN_IF_ERROR(AddTopicPartitions("flights:0,3-5", &partitions));
#pragma once

#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "millrace/groups.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

// TOPIC, which is all of its partitions, or TOPIC:PARTITIONS, numbers and ranges of them separated
// by commas. INVALID_ARGUMENT naming what is wrong, or a topic or partition that is named twice.
Status AddTopicPartitions(std::string_view text, TopicPartitions* partitions);

// Adds --topic, which may be given several times.
CLI::Option* AddTopicPartitionsOption(CLI::App* command, TopicPartitions* partitions);

}  // namespace millrace::client::cli
