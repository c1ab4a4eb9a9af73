// Pictures of the next question: chosen, dropped, pasted, or the sample.

const PICTURE_BYTES_MAX = 20 * 1024 * 1024;
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
// What the router takes; corrected as soon as it has said so.
const takes = { pictures: true, picturesMax: 8 };
let pictures = [];
let pictureCount = 0;

const complain = (text) => say(byId("ask-trouble"), text);

const thumbnail = ({ name, url }, size) => make("img", { src: url, alt: name, width: size, height: size });

const showPictures = () => {
  const create = (picture) => {
    const remove = button("×", () => {
      setPictures(pictures.filter((other) => other !== picture));
      byId("question").focus();
    }, { class: "remove", "aria-label": `Remove ${picture.name}` });
    return make("li", {}, thumbnail(picture, 64), remove);
  };
  keep(byId("pictures"), pictures, (picture) => picture.key, create, () => {});
};

const setPictures = (list) => {
  pictures = list;
  showPictures();
};

const addPicture = (name, url) => {
  if (pictures.length >= takes.picturesMax) {
    return complain(`At most ${words.plural(takes.picturesMax, "picture fits", "pictures fit")} in one question here.`);
  }
  pictureCount += 1;
  setPictures([...pictures, { key: pictureCount, name, url }]);
};

const read = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

const addFiles = async (files) => {
  complain("");
  if (!takes.pictures) return complain("This model takes no pictures.");
  for (const file of files) {
    if (!KINDS.includes(file.type)) complain(`${file.name} is no picture that can be read here: PNG, JPEG, WebP or GIF.`);
    else if (file.size > PICTURE_BYTES_MAX) complain(`${file.name} has ${words.bytes(file.size)}; at most 20 MiB are taken.`);
    else {
      try {
        addPicture(file.name || "pasted picture", await read(file));
      } catch {
        complain(`${file.name} could not be read.`);
      }
    }
  }
};

// A model without eyes is asked in words: everything about pictures leaves the page.
const showTakes = (view) => {
  takes.pictures = view.takes_pictures;
  takes.picturesMax = view.images_max;
  document.body.dataset.pictures = takes.pictures ? "yes" : "no";
  for (const part of document.querySelectorAll("[data-for='pictures']")) part.hidden = part.disabled = !takes.pictures;
  for (const part of document.querySelectorAll("[data-for='words']")) part.hidden = takes.pictures;
  if (byId("compare").selectedOptions[0].disabled) {
    byId("compare").value = "";
    showCompare();
  }
  if (!takes.pictures && pictures.length) {
    setPictures([]);
    complain("This model takes no pictures.");
  }
};

byId("file").addEventListener("change", (event) => {
  addFiles([...event.target.files]);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  addFiles(files);
});
const talk = byId("talk");
for (const name of ["dragenter", "dragover"]) {
  talk.addEventListener(name, (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    talk.dataset.over = "yes";
  });
}
for (const name of ["dragleave", "drop"]) talk.addEventListener(name, () => delete talk.dataset.over);
talk.addEventListener("drop", (event) => {
  const files = [...event.dataTransfer.files];
  if (!files.length) return;
  event.preventDefault();
  addFiles(files);
});
