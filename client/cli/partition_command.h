// `millrace partition describe` and `millrace partition verify`.
//
// On main's thread.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "millrace/admin.h"

namespace millrace::client::cli {

void AddPartitionCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

// Replicas as they are printed: a table and what does not fit into its columns, a line each.
std::string ReplicasToText(const std::vector<ReplicaDescription>& replicas);
// The same as -o json has them.
Json ReplicasToJson(const std::string& topic, const std::vector<ReplicaDescription>& replicas);
// Not ok if brokers did not answer: which ones, and why.
Status Unanswered(const std::vector<ReplicaDescription>& replicas);

using Verifications = std::vector<PartitionVerification>;
// What became of comparing replicas, in the same two ways.
std::string VerificationsToText(const Verifications& partitions);
Json VerificationsToJson(const std::string& topic, const Verifications& partitions);
// Not ok where replicas differ (DATA_LOSS), or some were not compared to the end (UNAVAILABLE).
Status NotTheSame(const Verifications& partitions);

}  // namespace millrace::client::cli
