// The links between the nodes, each with what it carries and what it could.

const rateText = (link) => {
  if (link.mbit_s !== null) return words.mbit(link.mbit_s);
  return link.at_least_mbit_s ? `at least ${words.mbit(link.at_least_mbit_s)}` : "–";
};

const linksOf = (view, now) =>
  view.links.map((link) => {
    const moving = growth(`${link.prefill} ${link.decode}`, link.bytes_sent, now, LINK_MS) ?? 0;
    return { ...link, flow: moving, use: link.mbit_s ? moving / (link.mbit_s * 125_000) : null };
  }).sort((one, other) => other.bytes_sent - one.bytes_sent);

const showLinks = (links, nameAt) => {
  byId("links-empty").hidden = links.length > 0;
  byId("links-scroll").hidden = links.length === 0;
  const cells = () => make("tr", {}, make("th", { scope: "row" }), make("td"), make("td"), make("td"), make("td"));
  keep(byId("links"), links, (link) => `${link.prefill} ${link.decode}`, cells, (row, link) => {
    const texts = [
      `${nameAt(link.prefill)} to ${nameAt(link.decode)}${link.rests_s ? `, rests ${words.duration(link.rests_s)} after a failure` : ""}`,
      link.flow > 0 ? words.rate(link.flow) : "idle",
      link.use === null ? "–" : words.percent(link.use),
      rateText(link),
      words.bytes(link.bytes_sent),
    ];
    texts.forEach((text, at) => say(row.children[at], text));
  });
  const small = links.filter((link) => link.mbit_s === null).reduce((all, link) => all + (link.small_shipments ?? 0), 0);
  const why = small ? ` ${words.plural(small, "shipment was", "shipments were")} smaller: they show a lower bound, since a small shipment measures the round trip.` : "";
  say(byId("links-note"), `Now and use: the last ten seconds. Rate: as shipments of 64 KiB or more measure it.${why}`);
  byId("links-note").hidden = links.length === 0;
};
