package truenas

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// A property is a ZFS property in TrueNAS's replies.
type property struct {
	Parsed   json.RawMessage `json:"parsed"`
	RawValue *string         `json:"rawvalue"`
	Value    *string         `json:"value"`
	Source   *string         `json:"source"`
}

// text returns ZFS's text, or "" for "-" and "none", which mean that the property has no value.
func (p property) text() string {
	for _, s := range []*string{p.RawValue, p.Value} {
		if s != nil && *s != "-" && *s != "none" {
			return *s
		}
	}
	return ""
}

// user returns the value of a user property, in which every text is a value.
func (p property) user() string {
	for _, s := range []*string{p.Value, p.RawValue} {
		if s != nil {
			return *s
		}
	}
	return ""
}

// bytes returns a size. It reads the raw value, because ZFS rounds the other one.
func (p property) bytes() int64 {
	if n, err := strconv.ParseInt(p.text(), 10, 64); err == nil {
		return n
	}
	var n int64
	if json.Unmarshal(p.Parsed, &n) != nil {
		return 0
	}
	return n
}

// time returns a time given in seconds since 1970, or zero without a value.
func (p property) time() time.Time {
	seconds, err := strconv.ParseInt(p.text(), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func (p property) local() bool { return p.Source != nil && *p.Source == "LOCAL" }

// splitUser returns the values of user properties, all and local ones.
func splitUser(props map[string]property) (all, local map[string]string) {
	all, local = map[string]string{}, map[string]string{}
	for key, p := range props {
		if !strings.Contains(key, ":") {
			continue
		}
		all[key] = p.user()
		if p.local() {
			local[key] = p.user()
		}
	}
	return all, local
}

// datasetProperties are the fields of Dataset, among about fifty properties of a dataset. They
// include the encryption: otherwise TrueNAS omits whether a dataset is encrypted and locked.
func datasetProperties() []string {
	return []string{"volsize", "volblocksize", "used", "usedbydataset", "available", "refreservation", "origin", "mountpoint", "creation", "compression", "sync", "deduplication", "encryption", "encryptionroot", "keystatus"}
}

// datasetOptions requests the properties of Dataset.
func datasetOptions(extra map[string]any) queryOptions {
	extra["retrieve_user_props"] = true
	extra["properties"] = datasetProperties()
	return queryOptions{Extra: extra}
}

// datasetListOptions keep the tree below each dataset out of its row; otherwise the row of a pool
// includes all datasets of the pool. Without children, TrueNAS searches only the roots of the
// pools, unless there is a filter: from 25.10 on any filter, on 25.04.2 only one that names
// datasets. For other filters 25.04.2 has to search the tree, and a selection keeps the tree out of
// the reply.
func datasetListOptions(release Release, filters []Filter) queryOptions {
	switch {
	case release.AtLeast(R25_10) && len(filters) > 0, namesDatasets(filters):
		return datasetOptions(map[string]any{"flat": true, "retrieve_children": false})
	case release.AtLeast(R25_10):
		return datasetOptions(map[string]any{"flat": true})
	}
	options := datasetOptions(map[string]any{"flat": true})
	options.Select = []string{"id", "name", "pool", "type", "encrypted", "locked", "user_properties"}
	for _, name := range datasetProperties() {
		if !strings.HasPrefix(name, "encryption") && name != "keystatus" {
			options.Select = append(options.Select, name)
		}
	}
	return options
}

// namesDatasets reports whether the only filter names datasets.
func namesDatasets(filters []Filter) bool {
	return len(filters) == 1 && len(filters[0]) == 3 && filters[0][0] == "id" && (filters[0][1] == "=" || filters[0][1] == "in")
}

// wireDataset is TrueNAS's form of a dataset. A list is decoded as such, because each UnmarshalJSON of an element reads its
// bytes two more times.
type wireDataset struct {
	ID             string              `json:"id"`
	Name           string              `json:"name"`
	Pool           string              `json:"pool"`
	Type           string              `json:"type"`
	Mountpoint     *string             `json:"mountpoint"`
	Encrypted      bool                `json:"encrypted"`
	Locked         bool                `json:"locked"`
	UserProperties map[string]property `json:"user_properties"`
	Volsize        property            `json:"volsize"`
	VolBlockSize   property            `json:"volblocksize"`
	Used           property            `json:"used"`
	UsedByDataset  property            `json:"usedbydataset"`
	Available      property            `json:"available"`
	RefReservation property            `json:"refreservation"`
	Origin         property            `json:"origin"`
	Creation       property            `json:"creation"`
	Compression    property            `json:"compression"`
	Sync           property            `json:"sync"`
	Deduplication  property            `json:"deduplication"`
}

// UnmarshalJSON flattens TrueNAS's form.
func (d *Dataset) UnmarshalJSON(data []byte) error {
	var w wireDataset
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*d = w.flat()
	return nil
}

func (w *wireDataset) flat() Dataset {
	d := Dataset{
		ID: w.ID, Name: w.Name, Pool: w.Pool, Type: w.Type, Encrypted: w.Encrypted, Locked: w.Locked,
		VolsizeBytes: w.Volsize.bytes(), VolBlockSizeBytes: w.VolBlockSize.bytes(), UsedBytes: w.Used.bytes(),
		UsedByDatasetBytes: w.UsedByDataset.bytes(), AvailableBytes: w.Available.bytes(),
		RefReservationBytes: w.RefReservation.bytes(), Origin: w.Origin.text(), CreatedAt: w.Creation.time(),
		Compression: w.Compression.text(), Sync: w.Sync.text(), Deduplication: w.Deduplication.text(),
	}
	if w.Mountpoint != nil {
		d.Mountpoint = *w.Mountpoint
	}
	d.UserProperties, d.LocalUserProperties = splitUser(w.UserProperties)
	return d
}
