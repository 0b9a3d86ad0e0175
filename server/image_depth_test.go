package server_test

import (
	"fmt"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/truenastest/intime"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// maxImageDepth is the depth of the graph of calls of an image's preparation: the NAS is read, the image is claimed, the NAS is read
// under the lease; the image is sent and verified, a volume is made, written and sealed, and the lease is returned; and the next
// ImagePrepare reads the image. From 26 on each of two removals is verified.
func maxImageDepth(release string) int {
	if release >= "26" {
		return 12
	}
	return 10
}

func TestDepthOfAnImage(t *testing.T) {
	for _, release := range sampling.Of(t, releases) {
		t.Run(release, func(t *testing.T) {
			intime.Try(t, 150*time.Millisecond, func(latency time.Duration) error {
				web, _ := serveImage(t)
				client, _, graph := atLatency(t, release, latency, loopbackImages)
				req := &providerv1.ImagePrepareRequest{ImageJson: web.job(web.checksum()), TargetName: "gold"}
				graph.reset()
				first, err := client.ImagePrepare(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				finish(t, client, first.GetTask())
				again, err := client.ImagePrepare(t.Context(), req)
				if err != nil || again.GetTask() != nil || again.GetPreparedImagePath() != first.GetPreparedImagePath() {
					t.Fatalf("after its task the image is %v, %v", again, err)
				}
				calls, depth := graph.result()
				t.Logf("%d calls, depth %d: %v", len(calls), depth, calls)
				if most := maxImageDepth(release); depth > most {
					return fmt.Errorf("depth %d, at most %d: %v", depth, most, calls)
				}
				return nil
			})
		})
	}
}
