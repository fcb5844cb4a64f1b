// Envoy's own service of global rate limits, for the tests of traffic. "version" tells which.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/envoyproxy/ratelimit/src/service_cmd/runner"
	"github.com/envoyproxy/ratelimit/src/settings"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		built, _ := debug.ReadBuildInfo()
		for _, each := range built.Deps {
			if each.Path == "github.com/envoyproxy/ratelimit" {
				fmt.Println(each.Version)
			}
		}
		return
	}
	service := runner.NewRunner(settings.NewSettings())
	service.Run()
}
