package truenas

import "encoding/json"

// EventKind tells what an event is about.
type EventKind int

// Kinds of events.
const (
	EventAdded   EventKind = iota + 1
	EventChanged           // Fields may be a part of the record
	EventRemoved
	EventReset // subscribed (again): whatever was missed must be re-read
	EventLost  // nothing more will be heard until the next EventReset
)

// An Event is a change of one record of a collection such as vm.query.
type Event struct {
	Kind   EventKind
	ID     int64           // the record's id, or 0 when it is not a number
	Fields json.RawMessage // up to 25.10 those of vm.query have no devices
}

func (c *Client) Subscribe(collection string, fn func(Event)) (cancel func()) { return func() {} }
