// Shows this instance's document; nobody else is asked for anything.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null,
  onComplete: () => {
    document.body.dataset.complete = "true";
  },
});
