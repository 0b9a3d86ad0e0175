package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

func TestOnlyUnusedImagesOfThisProviderGo(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, simulated := truenastest.New(t, truenastest.Release(release))
			client, provider := serve(t, nas, loopbackImages)
			web, _ := serveImage(t)
			ctx := context.Background()
			resp, err := prepare(t, client, web.job(web.checksum()))
			if err != nil {
				t.Fatal(err)
			}
			finish(t, client, resp.GetTask())
			req := wanted("web-1")
			req.ImageJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
			made, err := client.Create(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			prune := func(s *server.Server, unusedFor time.Duration, dry bool, want int) {
				t.Helper()
				gone, err := s.PruneImages(ctx, unusedFor, dry)
				if err != nil || len(gone) != want {
					t.Errorf("unused for %v: %v, %v; want %d", unusedFor, gone, err, want)
				}
			}
			prune(provider, 0, false, 0) // It has a clone.
			if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: made.GetId()}); err != nil {
				t.Fatal(err)
			}
			prune(provider, time.Hour, false, 0) // It was used just now.
			_, other := serve(t, nas, func(c *server.Config) { c.ID = "other" })
			prune(other, 0, false, 0) // It is another provider's.
			prune(provider, 0, true, 1)
			if len(below(simulated.State(), "tank/virtrigaud/images/")) == 0 {
				t.Error("a dry run removed the image")
			}
			// A provider that knows nothing but what the NAS says comes to the same end.
			_, fresh := serve(t, nas)
			prune(fresh, 0, false, 1)
			if left := below(simulated.State(), "tank/virtrigaud/images/"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
