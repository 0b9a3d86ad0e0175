package listen

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

func TestJournalKeepsTheLastFaults(t *testing.T) {
	var j Journal
	call := func(req any, err error) {
		_, _ = j.Interceptor()(context.Background(), req, &grpc.UnaryServerInfo{FullMethod: "/provider.v1.Provider/Create"}, func(context.Context, any) (any, error) { return nil, err })
	}
	call(&providerv1.CreateRequest{Name: "fine"}, nil)
	if got := j.Last(); len(got) != 0 {
		t.Errorf("a successful call is in the journal: %+v", got)
	}
	call(&providerv1.CreateRequest{Name: "web"}, status.Error(codes.Unavailable, "away"))
	call(&providerv1.CreateRequest{Name: "db"}, status.Error(codes.InvalidArgument, "class_json: too much"))
	call(&providerv1.CreateRequest{Name: "mail"}, status.Error(codes.Unavailable, "away"))
	got := j.Last()
	if len(got) != 2 || got[0].About != "mail" || got[0].Times != 2 || got[0].Last.Before(got[0].First) || got[1].About != "db" || got[1].What != "Create" || got[1].Code != codes.InvalidArgument {
		t.Errorf("noted: %+v", got)
	}
	for i := range 3 * journalSize {
		j.Note("Delete", "", codes.Internal, fmt.Sprint(i))
	}
	if got := j.Last(); len(got) != journalSize || got[0].Text != fmt.Sprint(3*journalSize-1) {
		t.Errorf("%d are kept, the latest is %+v", len(got), got[0])
	}
}
