// The connection to a cluster, for programs with threads of their own: where producers, consumers
// and the admin calls come from. It owns one thread for everything that goes over the network.
//
// All methods of this library may be called from any thread, and several at once, unless a header
// says otherwise. Callbacks run on the client's own thread: they must not block, and calls that
// wait fail there with FAILED_PRECONDITION. What was made from a client keeps what it needs alive:
// the order of destruction does not matter, only that nothing is destroyed in a callback.
//
// A timeout may be milliseconds::max(): more than a year is a year.
//
// No exceptions: errors are Status values (millrace/status.h), retried inside where a retry may
// help.
//
//   auto client = millrace::Client::Connect({.bootstrap = "127.0.0.1:7440"});
//   if (!client.ok()) return Complain(client.status());
//   auto producer = (*client)->OpenProducer("flights");
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "millrace/admin.h"
#include "millrace/consumer.h"
#include "millrace/group_consumer.h"
#include "millrace/groups.h"
#include "millrace/outage.h"
#include "millrace/producer.h"
#include "millrace/status.h"
#include "millrace/transactions.h"

namespace millrace {

struct ClientOptions {
  // HOST:PORT of one or more brokers, separated by commas, with blanks or without. The others are
  // learned from them.
  std::string bootstrap = "127.0.0.1:7440";
  // For the brokers' logs; at most 249 bytes.
  std::string client_id = "millrace";
  // How long Connect tries. 1 ms and up.
  std::chrono::milliseconds connect_timeout{10'000};
  // The same where nobody listens at any of the addresses: less, for a program that would rather
  // say so; connect_timeout if absent.
  std::optional<std::chrono::milliseconds> refused_timeout = {};
  // How old what is known of a topic gets before it is asked for again, give or take a tenth: so
  // long a producer, or a consumer of all partitions, may not know of partitions that came. 100 ms
  // and up.
  std::chrono::milliseconds metadata_age_max{30'000};
  // Called for everything that has been in vain for a second, Connect included, and then about once
  // a second and address for as long as that lasts: nothing else tells a dead cluster from an idle
  // topic, since what may heal is tried again and is no error. On the client's thread, as all
  // callbacks.
  std::function<void(const Outage&)> on_outage = {};
};

class Client {
 public:
  // Waits until a broker has answered. INVALID_ARGUMENT for options out of range; UNAVAILABLE or
  // DEADLINE_EXCEEDED if no broker answers in time.
  static Result<std::unique_ptr<Client>> Connect(const ClientOptions& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // NOT_FOUND (UNKNOWN_TOPIC); INVALID_ARGUMENT for options out of range; UNAVAILABLE.
  Result<std::unique_ptr<Producer>> OpenProducer(const std::string& topic,
                                                 const ProducerOptions& options = {});
  Result<std::unique_ptr<Consumer>> OpenConsumer(const std::string& topic,
                                                 const ConsumerOptions& options = {});
  // A member of the group, which it may not be yet when this returns. INVALID_ARGUMENT for options
  // out of range.
  Result<std::unique_ptr<GroupConsumer>> OpenGroupConsumer(const std::string& group,
                                                           const GroupConsumerOptions& options);
  Admin& admin();
  Groups& groups();
  Transactions& transactions();

 private:
  explicit Client(std::shared_ptr<internal::Runtime> runtime);

  // Shared with every producer and consumer.
  std::shared_ptr<internal::Runtime> runtime_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<Groups> groups_;
  std::unique_ptr<Transactions> transactions_;
};

}  // namespace millrace
