#include "client/cli/transaction_command.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/confirm.h"
#include "client/cli/connection.h"
#include "client/cli/number.h"
#include "client/cli/output.h"
#include "client/cli/transaction_description.h"
#include "millrace/transactions.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

using std::chrono::milliseconds;

// How long what is told anyway waits for partitions without a leader.
constexpr milliseconds kOffsetsWait{2000};

struct TransactionOptions {
  CommonOptions common;
  std::string id;
  std::string prefix;
  std::string state;
  std::optional<milliseconds> open_longer_than;
  bool is_yes = false;
};

std::vector<TransactionState> StatesOf(const TransactionOptions& options) {
  if (options.open_longer_than) return {TransactionState::kOngoing};
  for (const TransactionState state :
       {TransactionState::kIdle, TransactionState::kOngoing, TransactionState::kCommitting,
        TransactionState::kAborting}) {
    if (options.state == NameOf(state)) return {state};
  }
  return {};
}

void PrintListings(const TransactionListings& listed, const TransactionOptions& options) {
  if (options.common.is_json()) return PrintJson(ListingsToJson(listed));
  if (options.common.output == "name") {
    for (const TransactionListing& row : listed) {
      std::printf("%s\n", row.name.transactional_id.c_str());
    }
    return;
  }
  std::fputs(ListingsToText(listed, RealClock().WallMs()).c_str(), stdout);
}

int List(const TransactionOptions& options) {
  const bool is_about_open = options.state.empty() || options.state == "ongoing";
  if (options.open_longer_than && !is_about_open) {
    return FailUsage(InvalidArgument("--open-longer-than is of what is ongoing, not of what is " +
                                     options.state));
  }
  return RunConnected(options.common, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(
        TransactionListings listed,
        client.transactions().ListTransactions(
            {.prefix = options.prefix, .states = StatesOf(options)}, options.common.timeout));
    if (options.open_longer_than) {
      listed = OpenLongerThan(*options.open_longer_than, listed, RealClock().WallMs());
    }
    SortByAge(&listed);
    PrintListings(listed, options);
    return {};
  });
}

// As far as it is known soon: what it is about is known without.
Result<TransactionOffsets> OffsetsOf(millrace::Client& client,
                                     const TransactionDescription& transaction,
                                     const TransactionOptions& options) {
  return client.transactions().DescribeOffsets(transaction,
                                               std::min(options.common.timeout, kOffsetsWait));
}

Status Show(millrace::Client& client, const TransactionDescription& transaction,
            const TransactionOptions& options) {
  ASSIGN_OR_RETURN(const TransactionOffsets offsets, OffsetsOf(client, transaction, options));
  if (options.common.is_json()) {
    PrintJson(DescriptionToJson(transaction, offsets));
    return {};
  }
  std::printf("%s%s", DescriptionToText(transaction, RealClock().WallMs()).c_str(),
              TransactionOffsetsToText(offsets).c_str());
  return {};
}

int Describe(const TransactionOptions& options) {
  return RunOnTransactionalId(options.common, options.id, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const TransactionDescription transaction,
                     client.transactions().DescribeTransaction(options.id, options.common.timeout));
    return Show(client, transaction, options);
  });
}

Status NothingIsOpen(const TransactionDescription& transaction) {
  std::string why = "transactional id " + transaction.transactional_id + " has no transaction open";
  if (transaction.last) why += "; " + EndToText(*transaction.last);
  if (!transaction.partitions.empty()) why += ", and some partitions have not been told so yet";
  return FailedPrecondition(why);
}

// What is aborted is what was shown: the next one, which its producer may begin at any moment, has
// another name.
int Abort(const TransactionOptions& options) {
  if (Status able = CheckCanConfirm(options.is_yes); !able.ok()) return FailUsage(able);
  return RunOnTransactionalId(options.common, options.id, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const TransactionDescription transaction,
                     client.transactions().DescribeTransaction(options.id, options.common.timeout));
    const std::optional<TransactionName> name = transaction.ongoing_name();
    if (!name) return NothingIsOpen(transaction);
    if (!options.common.is_json()) RETURN_IF_ERROR(Show(client, transaction, options));
    RETURN_IF_ERROR(Confirm(options.is_yes, "abort " + NameToText(*name)));
    RETURN_IF_ERROR(client.transactions().AbortTransaction(*name, options.common.timeout));
    if (options.common.is_json()) {
      PrintJson(NameToJson(*name));
    } else {
      std::printf("aborted %s\n", NameToText(*name).c_str());
    }
    return {};
  });
}

CLI::App* AddAction(CLI::App* transaction, const char* name, const char* help,
                    const std::shared_ptr<TransactionOptions>& options) {
  CLI::App* action = transaction->add_subcommand(name, help);
  AddTransactionalId(action, &options->id);
  AddCommonOptions(action, {"table", "json"}, &options->common);
  return action;
}

void AddList(CLI::App* transaction, const std::shared_ptr<TransactionOptions>& options,
             Command* chosen) {
  CLI::App* list = transaction->add_subcommand(
      "list", "List transactional ids, and what is open of them, the longest first");
  list->add_option("--prefix", options->prefix, "Those alone whose ids begin so")
      ->check([](const std::string& text) {
        return std::string(CheckUtf8("the prefix", text).message());
      });
  list->add_option("--state", options->state, "Those alone in this state")
      ->check(CLI::IsMember({"ongoing", "committing", "aborting", "idle"}));
  AddParsed(
      list, "--open-longer-than",
      [age = &options->open_longer_than](std::string_view text) -> Status {
        ASSIGN_OR_RETURN(*age, ParseDuration(text));
        return {};
      },
      "Those alone that are ongoing for so long: 30s, 5m")
      ->type_name("DURATION");
  AddCommonOptions(list, {"table", "json", "name"}, &options->common);
  Choose(list, options, chosen, &List);
}

}  // namespace

void AddTransactionCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* transaction = app.add_subcommand(
      "transaction", "Transactions: which are open, what they hold back, and aborting one");
  transaction->require_subcommand(1);
  const auto make = [&] {
    auto options = std::make_shared<TransactionOptions>();
    options->common.bootstrap = bootstrap;
    return options;
  };
  AddList(transaction, make(), chosen);
  auto describe_options = make();
  Choose(AddAction(transaction, "describe",
                   "Show what is open of a transactional id, how far its partitions can be read, "
                   "and how the last one ended",
                   describe_options),
         describe_options, chosen, &Describe);
  auto abort_options = make();
  CLI::App* abort =
      AddAction(transaction, "abort", "Abort what is open of a transactional id", abort_options);
  AddYes(abort, &abort_options->is_yes);
  Choose(abort, abort_options, chosen, &Abort);
}

}  // namespace millrace::client::cli
