// What a client knows of the cluster: the brokers' addresses, and of the topics that it uses who
// leads which partition. Filled from DescribeTopics; neither a leader epoch nor a topic's number of
// partitions ever goes back, so an answer from a broker that lags behind changes nothing. (The
// hints in NOT_LEADER errors are followed by who got the error: client/core/producer.h,
// consumer.h.)
//
// One owner; on the client's executor. Pure.
//
//   cache.Update(response);
//   const LeaderInfo leader = cache.LeaderOf(partition);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/v1/metadata_service.pb.h"
#include "proto/base/ids.h"

namespace millrace::client {

struct LeaderInfo {
  BrokerId broker;  // 0: none known
  Term epoch;
};

struct TopicDetails {
  TopicId id;
  uint32_t partition_count = 0;
  uint32_t batch_bytes_max = 0;  // that the topic takes; 0: the broker did not say
  // How keys choose partitions; a value that is not known must not be guessed.
  v1::Partitioning partitioning = v1::PARTITIONING_UNSPECIFIED;
};

class MetadataCache {
 public:
  // Whether it told of a leader that was not known.
  bool Update(const v1::DescribeTopicsResponse& response);

  // Null if the topic is not known.
  const TopicDetails* FindTopic(std::string_view name) const;
  LeaderInfo LeaderOf(const TopicPartition& partition) const;
  // Empty if the broker is not known.
  std::string AddressOf(BrokerId broker) const;
  // The addresses of all brokers, by id.
  std::vector<std::string> Addresses() const;

 private:
  bool Learn(const TopicPartition& partition, const LeaderInfo& leader);

  std::map<BrokerId, std::string> addresses_;
  std::map<std::string, TopicDetails, std::less<>> topics_;
  std::map<TopicPartition, LeaderInfo> leaders_;
};

}  // namespace millrace::client
