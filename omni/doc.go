// Package omni is an infrastructure provider of Omni: it turns machine requests into virtual machines, only by calling the
// provider.v1 RPCs of one or several backends.
//
//	p, err := omni.New(omni.Config{ID: "truenas", Providers: []omni.Backend{{Name: "nas", Client: client}}, State: state, Factory: factory})
//	err = p.Run(ctx)
//
// A machine boots a nocloud image of Talos, the same for every machine of a schematic and a Talos version; its seed makes it
// join Omni. Records of requests are in Omni ([machine.Machine]), the machines are behind the RPCs, and the package keeps no
// state that a restart would lose.
//
// Three things surprise. The SDK drops a step's record when the step returns a plain error, so steps return their errors to
// [Provisioner.step], which alone reports them to the SDK. Omni stores the name of a request's current step, so the names of
// [Provisioner.ProvisionSteps] are a file format. And Omni does not display errors of a deprovisioning: the health text reports
// them.
package omni
