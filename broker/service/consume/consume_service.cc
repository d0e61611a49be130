#include "broker/service/consume/consume_service.h"

#include <iomanip>
#include <memory>
#include <sstream>
#include <utility>

namespace millrace::broker {

void ConsumeService::Register(ServiceRegistry* registry) {
  registry->AddStream("/millrace.v1.GroupService/Consume", [this](std::shared_ptr<Stream> stream) {
    return MakeConsumeStream(environment_, std::move(stream), DrawMemberId());
  });
}

// 128 bits of chance.
std::string ConsumeService::DrawMemberId() {
  std::ostringstream id;
  id << std::hex << std::setfill('0');
  for (int word = 0; word < 2; ++word) id << std::setw(16) << random_.Next();
  return id.str();
}

}  // namespace millrace::broker
