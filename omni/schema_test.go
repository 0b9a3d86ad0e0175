package omni

import "testing"

// named returns the value of a member, or nil.
func (o object) named(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func TestSchemaOfAField(t *testing.T) {
	if o := (field{kind: text}).schema(); o.named("enum") != nil || o.named("items") != nil || o.named("maxItems") != nil {
		t.Errorf("a text: %v", o)
	}
	if o := (field{kind: text, allowed: []string{"a"}}).schema(); o.named("enum") == nil {
		t.Errorf("a choice: %v", o)
	}
	if o := (field{kind: array}).schema(); o.named("maxItems") != nil || o.named("items").(object).named("type") != text {
		t.Errorf("a list of texts: %v", o)
	}
	o := (field{kind: array, items: []field{{name: "size", kind: integer, min: 1, max: 9}}}).schema()
	items, _ := o.named("items").(object)
	if o.named("maxItems") != maxListed || items.named("type") != "object" || items.named("additionalProperties") != false {
		t.Errorf("a list of objects: %v", o)
	}
	size, _ := items.named("properties").(object).named("size").(object)
	if size.named("minimum") == nil || size.named("maximum") == nil {
		t.Errorf("a number: %v", size)
	}
}
