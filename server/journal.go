package server

import (
	"context"
	"path"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// remembered is how many troubles a [Journal] keeps.
const remembered = 20

// Journal remembers the last things that went wrong, for people. The zero value is ready for use.
type Journal struct {
	mu   sync.Mutex
	list []Trouble
}

// Trouble is something that went wrong, once or several times in the same way.
type Trouble struct {
	What  string // "Create", "connection"
	About string // a name or an id; empty when it is about nothing in particular
	Code  codes.Code
	Text  string
	First time.Time
	Last  time.Time
	Times int
}

// Note remembers a trouble. The same one again is counted.
func (j *Journal) Note(what, about string, code codes.Code, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	noted := Trouble{What: what, About: about, Code: code, Text: text, First: now, Last: now, Times: 1}
	same := func(t Trouble) bool { return t.What == what && t.Code == code && t.Text == text }
	if i := slices.IndexFunc(j.list, same); i >= 0 {
		noted.First, noted.Times = j.list[i].First, j.list[i].Times+1
		j.list = slices.Delete(j.list, i, i+1)
	}
	j.list = append(j.list, noted)
	if len(j.list) > remembered {
		j.list = slices.Delete(j.list, 0, len(j.list)-remembered)
	}
}

// Last returns the troubles, the latest first.
func (j *Journal) Last() []Trouble {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := slices.Clone(j.list)
	slices.Reverse(list)
	return list
}

// Interceptor notes the calls that fail.
func (j *Journal) Interceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		resp, err := handle(ctx, req)
		if err != nil {
			said := status.Convert(err)
			j.Note(path.Base(info.FullMethod), subject(req), said.Code(), said.Message())
		}
		return resp, err
	}
}

// subject is the name of what a request is about, or its id.
func subject(req any) string {
	var id string
	for _, field := range about(req) {
		switch field.Key {
		case "name":
			return field.String
		case "vm", "task", "snapshot":
			id = field.String
		}
	}
	return id
}
