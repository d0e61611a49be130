#include "millrace/client.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "client/api/consumer_handle.h"
#include "client/api/group_consumer_handle.h"
#include "client/api/producer_handle.h"
#include "client/api/runtime.h"
#include "raft/runtime/network.h"

namespace millrace {
namespace {

constexpr size_t kClientIdBytesMax = 249;
// Less is a load on brokers, not news.
constexpr std::chrono::milliseconds kMetadataAgeMin{100};

std::string_view WithoutBlanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// Empty parts, as behind a last comma, are none.
Result<std::vector<std::string>> ParseBootstrap(const std::string& text) {
  std::vector<std::string> addresses;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = WithoutBlanks(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    if (part.empty()) continue;
    if (part.find("://") != std::string_view::npos) {
      return InvalidArgument("bootstrap: \"" + std::string(part) +
                             "\" is a URL: HOST:PORT is wanted, without http://");
    }
    if (part.find_first_of(" \t\r\n;") != std::string_view::npos) {
      return InvalidArgument("bootstrap: \"" + std::string(part) +
                             "\" is no HOST:PORT; several are separated by commas");
    }
    const Result<Endpoint> endpoint = ParseEndpoint(part);
    if (!endpoint.ok()) return endpoint.status().With("bootstrap");
    addresses.push_back(endpoint->ToString());
  }
  if (addresses.empty()) return InvalidArgument("bootstrap: there is no HOST:PORT");
  return addresses;
}

std::function<void(const client::OutageReport&)> TellsOutages(
    const std::function<void(const Outage&)>& on_outage) {
  if (!on_outage) return {};
  return [on_outage](const client::OutageReport& report) {
    on_outage({.address = report.address,
               .status = report.status,
               .topic = report.topic,
               .partition = report.partition.value(),
               .lasts = std::chrono::duration_cast<std::chrono::milliseconds>(report.lasts)});
  };
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  ASSIGN_OR_RETURN(std::vector<std::string> addresses, ParseBootstrap(options.bootstrap));
  if (options.client_id.size() > kClientIdBytesMax) {
    return InvalidArgument("client_id is longer than 249 bytes");
  }
  if (options.connect_timeout.count() < 1) {
    return InvalidArgument("connect_timeout is less than a millisecond");
  }
  if (options.metadata_age_max < kMetadataAgeMin) {
    return InvalidArgument("metadata_age_max is less than 100 milliseconds");
  }
  auto runtime = std::make_shared<internal::Runtime>(
      client::ClientOptions{.bootstrap = std::move(addresses),
                            .client_id = options.client_id,
                            .metadata_age_max = internal::Bounded(options.metadata_age_max),
                            .on_outage = TellsOutages(options.on_outage)});
  const auto reached = runtime->Await<v1::GetServerInfoResponse>([&](auto done) {
    runtime->client().Reach(
        internal::Bounded(options.connect_timeout),
        internal::Bounded(options.refused_timeout.value_or(options.connect_timeout)),
        std::move(done));
  });
  RETURN_IF_ERROR(reached.status());
  return std::unique_ptr<Client>(new Client(std::move(runtime)));
}

Client::Client(std::shared_ptr<internal::Runtime> runtime)
    : runtime_(std::move(runtime)),
      admin_(new Admin(runtime_)),
      groups_(new Groups(runtime_)),
      transactions_(new Transactions(runtime_)) {}
Client::~Client() = default;

Admin& Client::admin() { return *admin_; }
Groups& Client::groups() { return *groups_; }
Transactions& Client::transactions() { return *transactions_; }

Result<std::unique_ptr<Producer>> Client::OpenProducer(const std::string& topic,
                                                       const ProducerOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<internal::ProducerHandle> handle,
                   internal::ProducerHandle::Open(runtime_, topic, options));
  return std::unique_ptr<Producer>(new Producer(std::move(handle)));
}

Result<std::unique_ptr<Consumer>> Client::OpenConsumer(const std::string& topic,
                                                       const ConsumerOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<internal::ConsumerHandle> handle,
                   internal::ConsumerHandle::Open(runtime_, topic, options));
  return std::unique_ptr<Consumer>(new Consumer(std::move(handle)));
}

Result<std::unique_ptr<GroupConsumer>> Client::OpenGroupConsumer(
    const std::string& group, const GroupConsumerOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<internal::GroupConsumerHandle> handle,
                   internal::GroupConsumerHandle::Open(runtime_, group, options));
  return std::unique_ptr<GroupConsumer>(new GroupConsumer(std::move(handle)));
}

}  // namespace millrace
