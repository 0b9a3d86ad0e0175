// Package omni is an infrastructure provider of Omni: it turns machine requests into virtual machines by calling the
// provider.v1 RPCs, and nothing else, of one or several backends.
//
//	p, err := omni.New(omni.Config{ID: "truenas", Providers: []omni.Backend{{Name: "nas", Client: client}}, State: state, Factory: factory})
//	err = p.Run(ctx)
//
// A machine boots a nocloud image of Talos that is the same for every machine of a schematic and a Talos version; what
// makes it join Omni lies in its seed. What is noted about a request lies in Omni ([machine.Machine]), what exists lies
// behind the RPCs, and the package keeps nothing that a restart would miss.
//
// Three things surprise. The SDK drops what a step noted when the step returns a plain error, so that steps return their
// errors to [Provisioner.step], which alone decides how the SDK hears of them. Omni stores the name of the step that a
// request has reached, so that the names of [Provisioner.ProvisionSteps] are a file format. And Omni shows no error of a
// deprovisioning: the health text reports them.
package omni
