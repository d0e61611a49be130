#include "client/cli/connection.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <map>
#include <string>
#include <vector>

#include "client/cli/output.h"
#include "client/cli/spelling.h"
#include "millrace/admin.h"
#include "millrace/groups.h"
#include "millrace/transactions.h"

namespace millrace::client::cli {
namespace {

// Unless --timeout says how long to wait: a broker may be about to start.
constexpr std::chrono::milliseconds kRefusedTimeout{3000};
constexpr std::chrono::milliseconds kNoteInterval{10'000};
// For what only makes an error's message better.
constexpr std::chrono::milliseconds kHintTimeout{1000};

// What the client tells, on its thread, and the command asks for, on main's.
class OutageLog {
 public:
  // For a command with this --timeout. Before there is a client.
  void Begin(std::chrono::milliseconds timeout) {
    timeout_ = timeout;
    noted_.clear();
    is_over_timeout_ = false;
  }

  void Tell(const Outage& outage) {
    // A call that waits for one broker says nothing of the partitions.
    if (!outage.topic.empty() && outage.lasts >= timeout_ && !is_over_timeout_) {
      over_timeout_ = outage.status;
      is_over_timeout_ = true;
    }
    const auto [noted, is_new] = noted_.try_emplace(outage.address, outage.lasts);
    // One that lasts less than the last that was noted is another.
    const bool is_due =
        is_new || outage.lasts < noted->second || outage.lasts - noted->second >= kNoteInterval;
    if (!is_due) return;
    noted->second = outage.lasts;
    const std::string_view why = outage.status.message();
    const bool is_refused = why.ends_with("Connection refused");
    PrintNote("still trying: " + std::string(why) +
              (is_refused ? " (is a broker running there?)" : ""));
  }

  // Why the first that lasted for as long as the timeout is in vain; ok without one.
  Status over_timeout() const { return is_over_timeout_ ? over_timeout_ : Status(); }

 private:
  std::chrono::milliseconds timeout_{0};
  std::map<std::string, std::chrono::milliseconds> noted_;  // by address; the client's thread's
  std::atomic<bool> is_over_timeout_{false};
  Status over_timeout_;  // written once, before is_over_timeout_
};

// A process runs one command, so that there is one log.
OutageLog& Outages() {
  static OutageLog log;
  return log;
}

volatile std::sig_atomic_t signal_received = 0;

void OnSignal(int signal) { signal_received = signal; }

int ExitCodeOf(const Status& done) {
  if (done.ok()) return kExitDone;
  PrintError(done.ToString());
  if (done.reason() == Reason::kOffsetMoved) return kExitMoved;
  const bool is_interrupted = done.code() == Code::kCancelled && IsInterrupted();
  return is_interrupted ? 128 + static_cast<int>(signal_received) : kExitFailed;
}

std::chrono::milliseconds HintTimeout(const CommonOptions& options) {
  return std::min(kHintTimeout, options.timeout);
}

// The error of what is not there, with one of those that are `listed` if that may be meant. What is
// known is said without where they are not.
template <typename Listing, typename NameOf>
Status WithNameMeant(const Status& unknown, const std::string& name,
                     const Result<std::vector<Listing>>& listed, NameOf name_of) {
  if (!listed.ok()) return unknown;
  std::vector<std::string> names;
  for (const Listing& one : *listed) names.push_back(name_of(one));
  return NotFound(std::string(unknown.message()) + DidYouMean(name, names), unknown.reason());
}

// What the cluster refuses with INVALID_ARGUMENT is an error of the command line.
int RunAsked(const CommonOptions& options,
             const std::function<Status(millrace::Client&)>& command) {
  bool is_refused = false;
  const int exit_code = RunConnected(options, [&](millrace::Client& client) -> Status {
    Status done = command(client);
    is_refused = done.code() == Code::kInvalidArgument;
    return done;
  });
  return is_refused ? kExitUsage : exit_code;
}

}  // namespace

int RunConnected(const CommonOptions& options,
                 const std::function<Status(millrace::Client&)>& command) {
  Outages().Begin(options.timeout);
  const std::chrono::milliseconds refused_timeout =
      options.has_timeout ? options.timeout : std::min(kRefusedTimeout, options.timeout);
  const Result<std::unique_ptr<millrace::Client>> client = millrace::Client::Connect(
      {.bootstrap = options.bootstrap,
       .connect_timeout = options.timeout,
       .refused_timeout = refused_timeout,
       .on_outage = [](const Outage& outage) { Outages().Tell(outage); }});
  if (client.status().code() == Code::kInvalidArgument) return FailUsage(client.status());
  if (!client.ok()) return Fail(client.status());
  return ExitCodeOf(command(**client));
}

int RunOnTopic(const CommonOptions& options, const std::string& topic,
               const std::function<Status(millrace::Client&)>& command) {
  return RunConnected(options, [&](millrace::Client& client) -> Status {
    Status done = command(client);
    if (done.code() != Code::kNotFound || done.reason() != Reason::kUnknownTopic) return done;
    return WithNameMeant(done, topic, client.admin().ListTopics(HintTimeout(options)),
                         [](const TopicListing& listed) { return listed.name; });
  });
}

int RunOnGroup(const CommonOptions& options, const std::string& group,
               const std::function<Status(millrace::Client&)>& command) {
  return RunAsked(options, [&](millrace::Client& client) -> Status {
    Status done = command(client);
    if (done.reason() != Reason::kUnknownGroup) return done;
    return WithNameMeant(done, group, client.groups().ListGroups("", HintTimeout(options)),
                         [](const GroupListing& listed) { return listed.group; });
  });
}

int RunOnTransactionalId(const CommonOptions& options, const std::string& id,
                         const std::function<Status(millrace::Client&)>& command) {
  return RunAsked(options, [&](millrace::Client& client) -> Status {
    Status done = command(client);
    if (done.reason() != Reason::kUnknownTransactionalId) return done;
    return WithNameMeant(
        done, id, client.transactions().ListTransactions({}, HintTimeout(options)),
        [](const TransactionListing& listed) { return listed.name.transactional_id; });
  });
}

Status OutageOverTimeout() { return Outages().over_timeout(); }

void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the process at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool IsInterrupted() { return signal_received != 0; }

Status Interrupted(std::string_view what) {
  return Status(Code::kCancelled, "interrupted: " + std::string(what));
}

}  // namespace millrace::client::cli
