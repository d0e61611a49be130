// Records of the controller's log as its tests write them by hand, and what is decided with a key
// and a time that are fixed.
//
//   ASSERT_TRUE(image.Apply(Created(1, "flights", 2, 3)).ok());
//   ApplyAll(DecideRegister(image, Broker(1), kKey), &image);
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "broker/controller/image.h"

namespace millrace::broker {

inline void AddReplica(uint32_t broker, uint32_t number,
                       internal::v1::PartitionPlacement* placement) {
  auto& replica = *placement->add_replicas();
  replica.set_broker_id(broker);
  replica.set_incarnation(7);
  replica.set_number(number);
}

inline internal::v1::ControllerRecord Created(uint64_t topic, const std::string& name,
                                              uint64_t first_group, uint32_t partitions,
                                              uint32_t base = 1'000'000) {
  internal::v1::ControllerRecord record;
  auto& created = *record.mutable_topic_created();
  created.set_topic_id(topic);
  created.set_name(name);
  (*created.mutable_settings())["batch_bytes_max"] = "64KiB";
  created.set_request_id(100 + topic);
  created.set_kind(internal::v1::TopicCreated::KIND_PARTITION_LOG);
  created.set_leader_epoch_base(base);
  for (uint32_t number = 0; number < partitions; ++number) {
    auto& placement = *created.add_partitions();
    placement.set_partition(number);
    placement.set_group_id(first_group + number);
    placement.set_first_configuration_stands(true);
    AddReplica(3 - number % 2, 1, &placement);  // in an order of its own
  }
  return record;
}

inline internal::v1::ControllerRecord Deleted(uint64_t topic, uint64_t request_id,
                                              uint32_t epoch_end = 1'000'000) {
  internal::v1::ControllerRecord record;
  record.mutable_topic_deleted()->set_topic_id(topic);
  record.mutable_topic_deleted()->set_request_id(request_id);
  record.mutable_topic_deleted()->set_epoch_end(epoch_end);
  return record;
}

inline Image Reloaded(const Image& image) {
  internal::v1::ControllerImage saved;
  image.SaveTo(&saved);
  Result<Image> loaded = Image::LoadFrom(saved);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? std::move(*loaded) : Image();
}

inline const std::string kKey(kProducerIdKeyBytes, 'k');
// 2025-01-02, by whose clock the base of leader epochs is 21600.
inline constexpr int64_t kNowMs = 1'735'776'000'000;
inline constexpr uint32_t kBaseNow = 21'600;

inline void ApplyAll(const Decision& decision, Image* image) {
  ASSERT_TRUE(decision.ok()) << decision.status();
  for (const auto& record : decision->records()) ASSERT_TRUE(image->Apply(record).ok());
}

inline Decision DecideAlteration(const Image& image, const v1::AlterTopicRequest& request) {
  ASSIGN_OR_RETURN(const TopicChange change, ChangeOf(image, request));
  return DecideAlterTopic(image, request, change);
}

inline internal::v1::BrokerRegistered Broker(uint32_t id) {
  internal::v1::BrokerRegistered broker;
  broker.set_broker_id(id);
  broker.set_incarnation(100 + id);
  auto& endpoint = *broker.add_endpoints();
  endpoint.set_protocol(internal::v1::BrokerRegistered::PROTOCOL_CLIENTS);
  endpoint.set_address("host" + std::to_string(id) + ":7440");
  broker.set_software_version("1.0");
  broker.set_level_min(1);
  broker.set_level_max(1);
  return broker;
}

}  // namespace millrace::broker
