#include "millrace/client.h"

#include <utility>
#include <vector>

#include "client/millrace/consumer_core.h"
#include "client/millrace/producer_core.h"
#include "client/millrace/runtime.h"
#include "raft/runtime/network.h"

namespace millrace {
namespace {

constexpr size_t kClientIdBytesMax = 249;

Result<std::vector<std::string>> ParseBootstrap(const std::string& text) {
  std::vector<std::string> addresses;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const Result<Endpoint> endpoint = ParseEndpoint(text.substr(begin, end - begin));
    if (!endpoint.ok()) return endpoint.status().With("bootstrap");
    addresses.push_back(endpoint->ToString());
    begin = end + 1;
  }
  return addresses;
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
  auto runtime = std::make_shared<internal::Runtime>(
      client::ClientOptions{.bootstrap = std::move(addresses), .client_id = options.client_id});
  std::unique_ptr<Client> client(new Client(std::move(runtime)));
  RETURN_IF_ERROR(client->admin().GetServerInfo(options.connect_timeout).status());
  return client;
}

Client::Client(std::shared_ptr<internal::Runtime> runtime)
    : runtime_(std::move(runtime)), admin_(new Admin(runtime_)) {}
Client::~Client() = default;

Admin& Client::admin() { return *admin_; }

Result<std::unique_ptr<Producer>> Client::OpenProducer(const std::string& topic,
                                                       const ProducerOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<internal::ProducerCore> core,
                   internal::ProducerCore::Open(runtime_, topic, options));
  return std::unique_ptr<Producer>(new Producer(std::move(core)));
}

Result<std::unique_ptr<Consumer>> Client::OpenConsumer(const std::string& topic,
                                                       const ConsumerOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<internal::ConsumerCore> core,
                   internal::ConsumerCore::Open(runtime_, topic, options));
  return std::unique_ptr<Consumer>(new Consumer(std::move(core)));
}

}  // namespace millrace
