// Benthos 4.27.0 (MIT) with only the components that the two configurations here name: all of them together are a build
// several times as long.
package main

import (
	"context"

	_ "github.com/benthosdev/benthos/v4/public/components/io"
	_ "github.com/benthosdev/benthos/v4/public/components/kafka"
	_ "github.com/benthosdev/benthos/v4/public/components/pure"
	_ "github.com/benthosdev/benthos/v4/public/components/sql/base"
	"github.com/benthosdev/benthos/v4/public/service"
	_ "github.com/lib/pq" // the driver that sql_raw calls postgres
)

func main() {
	service.RunCLI(context.Background())
}
