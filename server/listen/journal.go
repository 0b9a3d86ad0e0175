package listen

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

// journalSize is how many faults a [Journal] keeps.
const journalSize = 20

// Journal keeps the last faults, for users. The zero value is ready for use.
type Journal struct {
	mu   sync.Mutex
	list []Fault
}

// Fault is a failure that occurred once or several times.
type Fault struct {
	What  string // "Create", "connection"
	About string // a name or an id; may be empty
	Code  codes.Code
	Text  string
	First time.Time
	Last  time.Time
	Times int
}

// Note records a fault. A repetition is counted.
func (j *Journal) Note(what, about string, code codes.Code, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	noted := Fault{What: what, About: about, Code: code, Text: text, First: now, Last: now, Times: 1}
	same := func(t Fault) bool { return t.What == what && t.Code == code && t.Text == text }
	if i := slices.IndexFunc(j.list, same); i >= 0 {
		noted.First, noted.Times = j.list[i].First, j.list[i].Times+1
		j.list = slices.Delete(j.list, i, i+1)
	}
	j.list = append(j.list, noted)
	if len(j.list) > journalSize {
		j.list = slices.Delete(j.list, 0, len(j.list)-journalSize)
	}
}

// Last returns the faults, the latest first.
func (j *Journal) Last() []Fault {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := slices.Clone(j.list)
	slices.Reverse(list)
	return list
}

// Interceptor records the calls that fail.
func (j *Journal) Interceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		resp, err := handle(ctx, req)
		if err != nil {
			st := status.Convert(err)
			j.Note(path.Base(info.FullMethod), subject(req), st.Code(), st.Message())
		}
		return resp, err
	}
}

// subject returns the name of a request's subject, or its id.
func subject(req any) string {
	var id string
	for _, field := range subjectFields(req) {
		switch field.Key {
		case "name":
			return field.String
		case "vm", "task", "snapshot":
			id = field.String
		}
	}
	return id
}
