package server_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// A repeated Create that names another pool must not give the VM a second set of disks there.
func TestCreateKeepsThePool(t *testing.T) {
	blank := func(datastore string) *providerv1.CreateRequest {
		req := good()
		req.ImageJson, req.PlacementJson = "", datastore
		return req
	}
	for _, release := range releases {
		for _, tt := range []struct{ first, second, pool string }{
			{`{"Datastore":"tank"}`, `{"Datastore":"flash"}`, "tank"},
			{`{"Datastore":"flash"}`, `{"Datastore":"tank"}`, "flash"},
			{`{"Datastore":"flash"}`, "", "flash"},
		} {
			t.Run(release+"/"+tt.first+tt.second, func(t *testing.T) {
				client, nas := onPools(t, release)
				if _, err := client.Create(t.Context(), blank(tt.first)); err != nil {
					t.Fatal(err)
				}
				untouched(t, nas, func() error {
					_, err := client.Create(t.Context(), blank(tt.second))
					return err
				}, codes.FailedPrecondition, "placement_json.Datastore: ", `pool "`+tt.pool+`"`)
			})
		}
	}
}
